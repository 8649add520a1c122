"""Sessions bound to the device of their browser: Device Bound Session Credentials (W3C draft).

    routes         /auth/device: the browser shows its public key; /auth/device/refresh: it proves the private one
    proof          the signed token of either, read and verified
    challenges     what a proof signs: stateless, bound to one session, good for one refresh
    bindings       the row behind a bound session: public key, generation, hashes of its short-lived cookies
    instructions   what the browser is told: which cookie, which addresses, where to refresh

The browser makes a key pair that does not leave the machine and gets a cookie of ten minutes; when it is over, the
browser holds back its requests, signs a challenge, and gets the next. So a copied cookie jar is worth ten minutes.
That the cookie is there is checked by the database, in admission itself. A browser that cannot do this ignores the
offer and loses nothing.
"""
