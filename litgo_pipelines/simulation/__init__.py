"""A marketplace that lives: lawyers, clients and time, made up. It drives the product's own casework as reality would.

What is hidden here (true quality, true relevance) is kept under a database role that product code does not have.
"""
