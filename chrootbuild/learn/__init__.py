"""Learning rounds: trial under trace, propose, write NAME.learned.toml, build again."""
