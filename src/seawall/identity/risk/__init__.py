"""How unusual a sign-in is, and a request beside its sign-in: a score, its reasons, and what follows.

    browser     family and platform from the User-Agent, and nothing finer places      a keyed hash of the network;
    country and operator, where a database file is there assess      signals → score, reasons, effect; pure, all of it
    arrivals    at a sign-in: compares with the person's known browsers and recent failures, writes down what it
    looked like watch       at a request: compares with the sign-in of its session

Signals notify, or take away the trust that a second factor had earned. They never sign anybody out: networks change,
laptops travel, and a false alarm that costs work is switched off by its victims. What is not known is neutral.
"""
