"""What the tests share: tables of cases, oracles, models, and ways to run things."""
