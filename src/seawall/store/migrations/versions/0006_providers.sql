-- Provider sessions for back-channel logout.
SELECT 1;
