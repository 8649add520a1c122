-- Throttling by GCRA: one timestamp per key, the theoretical arrival time of the next attempt.

-- Takes one of `times` attempts per `window_s` seconds. Gives 0, or the seconds to wait; a refused attempt takes nothing.
CREATE OR REPLACE FUNCTION seawall.throttle(key bytea, times integer, window_s integer) RETURNS double precision
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    moment timestamptz := clock_timestamp();
    step interval := make_interval(secs => throttle.window_s::double precision / throttle.times);
    -- a millisecond against the rounding of step to microseconds
    latest timestamptz := moment + make_interval(secs => throttle.window_s) + interval '1 millisecond';
    wait_s double precision;
BEGIN
    IF random() < 0.02 THEN
        DELETE FROM seawall.throttles d WHERE d.key IN (
            SELECT o.key FROM seawall.throttles o WHERE o.tat < moment LIMIT 200 FOR UPDATE SKIP LOCKED);
    END IF;
    INSERT INTO seawall.throttles AS t (key, tat) VALUES (throttle.key, moment + step)
    ON CONFLICT (key) DO UPDATE SET tat = greatest(t.tat, moment) + step
        WHERE greatest(t.tat, moment) + step <= latest;
    IF FOUND THEN RETURN 0; END IF;
    SELECT extract(epoch FROM t.tat + step - latest) INTO wait_s FROM seawall.throttles t WHERE t.key = throttle.key;
    RETURN greatest(coalesce(wait_s, 1), 0.001);
END $$;

-- Returns an attempt that turned out well: only failures count.
CREATE OR REPLACE FUNCTION seawall.throttle_give_back(key bytea, times integer, window_s integer) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE seawall.throttles t
    SET tat = t.tat - make_interval(secs => throttle_give_back.window_s::double precision / throttle_give_back.times)
    WHERE t.key = throttle_give_back.key
$$;

-- How many attempts of a limit are used up right now: failures, since what turned out well was given back.
CREATE OR REPLACE FUNCTION seawall.throttle_used(key bytea, times integer, window_s integer) RETURNS integer
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce((SELECT ceil(extract(epoch FROM t.tat - clock_timestamp()) * throttle_used.times
                                 / throttle_used.window_s - 0.001)::integer
                     FROM seawall.throttles t WHERE t.key = throttle_used.key AND t.tat > clock_timestamp()), 0)
$$;
GRANT EXECUTE ON FUNCTION seawall.throttle(bytea, integer, integer), seawall.throttle_give_back(bytea, integer, integer),
                          seawall.throttle_used(bytea, integer, integer) TO seawall_identity;
