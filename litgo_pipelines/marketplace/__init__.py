"""The facts: tables, migrations, the database that holds them. No rule about who gets a case lives here."""
