"""What a study takes, before any of it is spent: time, device hours, money, memory, disk and rows in the ledger."""
