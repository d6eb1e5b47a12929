"""Results as people see them: tables, texts, HTML and figures."""
