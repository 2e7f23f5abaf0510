"""Views on runs: tables and readable judgments; they read, they never judge."""
