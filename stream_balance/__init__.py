"""stream_balance: learns online from search and purchase events and balances them as they arrive."""
