-- API clients: grants, refresh families, revoked tokens, proofs seen.
SELECT 1;
