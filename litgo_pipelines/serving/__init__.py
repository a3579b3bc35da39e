"""The HTTP service that answers which lawyers a case is shown to, with the promoted model.

What lives here: requests and answers, bearer tokens, the market and the model kept in memory, metrics of the service itself. How a
decision is taken and written lives in `casework`; which model is promoted in `rollout`.
"""
