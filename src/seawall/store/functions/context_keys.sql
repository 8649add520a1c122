-- Keys under which the database signs tenant contexts. They never leave it.

-- The two pads of HMAC-SHA-256 (RFC 2104), which is made by hand from core sha256(): pgcrypto is not in every build.
CREATE OR REPLACE FUNCTION seawall.xor_pad(key bytea, pad integer) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE block bytea := decode(repeat('00', 64), 'hex');
BEGIN
    FOR i IN 0..63 LOOP
        block := set_byte(block, i, (CASE WHEN i < length(key) THEN get_byte(key, i) ELSE 0 END) # pad);
    END LOOP;
    RETURN block;
END $$;

CREATE OR REPLACE FUNCTION seawall.new_context_key() RETURNS integer
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    -- gen_random_uuid() draws from pg_strong_random: three carry 366 random bits
    key bytea := sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()));
    made integer;
BEGIN
    UPDATE seawall.context_keys SET retired_at = now() WHERE retired_at IS NULL;
    INSERT INTO seawall.context_keys (inner_pad, outer_pad)
    VALUES (seawall.xor_pad(key, 54), seawall.xor_pad(key, 92)) RETURNING kid INTO made;
    RETURN made;
END $$;

-- A new database gets its first one.
SELECT seawall.new_context_key() WHERE NOT EXISTS (SELECT FROM seawall.context_keys);
