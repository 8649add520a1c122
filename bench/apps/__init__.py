"""The four apps that bench/request.py compares. Each reads one order and answers the same JSON."""
