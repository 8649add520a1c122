-- What policy review replays.
SELECT 1;
