-- Releases that go draft, reviewed, official, superseded or withdrawn; and a journal of every step.
-- People change them through the functions at the end only. Tables that hold what was once submitted
-- take no UPDATE and no DELETE from anyone who leaves the triggers on; `verify` finds who did not.

-- --- products: immutable once submitted ---------------------------------------------------------

CREATE TABLE phusa.root (path text PRIMARY KEY);  -- folders below which COGs lie

ALTER TABLE phusa.product ADD COLUMN files jsonb;  -- name -> SHA-256 of each file in its COG's folder
ALTER TABLE phusa.product ADD COLUMN tiles bytea;  -- SHA-256 of the WKB of each raster tile, by number
ALTER TABLE phusa.product ADD COLUMN made_by text NOT NULL DEFAULT session_user;
ALTER TABLE phusa.product ADD COLUMN made_at timestamptz NOT NULL DEFAULT now();

ALTER TABLE phusa.raster ADD COLUMN number int;  -- 1, 2, ... by rows from the north west
UPDATE phusa.raster r SET number = n.number FROM (
    SELECT ctid AS place, row_number() OVER (
        PARTITION BY product_id ORDER BY ST_UpperLeftY(rast) DESC, ST_UpperLeftX(rast)) AS number
    FROM phusa.raster) n
WHERE r.ctid = n.place;
ALTER TABLE phusa.raster ADD PRIMARY KEY (product_id, number);
DROP INDEX phusa.raster_product;

UPDATE phusa.product p SET
    files = jsonb_build_object(regexp_replace(cog, '.*/', ''), sha256),
    tiles = (SELECT string_agg(sha256(rast::bytea), '' ORDER BY number) FROM phusa.raster WHERE product_id = p.id);
INSERT INTO phusa.root SELECT DISTINCT regexp_replace(cog, '/products/.*', '') FROM phusa.product;
ALTER TABLE phusa.product ALTER COLUMN files SET NOT NULL;

-- --- releases -----------------------------------------------------------------------------------

ALTER TABLE phusa.release RENAME TO release_before;
ALTER TABLE phusa.release_before DROP CONSTRAINT release_pkey;

CREATE TABLE phusa.release (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    region       text NOT NULL,
    season       text NOT NULL,
    season_start date NOT NULL,
    season_end   date NOT NULL,
    release      text NOT NULL,          -- digest of its content
    manifest     text NOT NULL,          -- a line a part: SHA-256, two spaces, kind and name
    state        text NOT NULL DEFAULT 'draft'
                 CHECK (state IN ('draft', 'reviewed', 'official', 'superseded', 'withdrawn')),
    submitted_by text NOT NULL DEFAULT session_user,
    reviewed_by  text CHECK (reviewed_by <> submitted_by),
    UNIQUE (region, season, release)
);
CREATE UNIQUE INDEX release_official ON phusa.release (region, season) WHERE state = 'official';
CREATE UNIQUE INDEX release_waiting ON phusa.release (region, season) WHERE state IN ('draft', 'reviewed');

CREATE TABLE phusa.release_product (
    release_id bigint NOT NULL REFERENCES phusa.release,
    product_id bigint NOT NULL REFERENCES phusa.product,
    PRIMARY KEY (release_id, product_id)
);
CREATE INDEX release_product_product ON phusa.release_product (product_id);

CREATE TABLE phusa.document (  -- text that is released with the maps: collection.json, areas.json, ...
    release_id bigint NOT NULL REFERENCES phusa.release,
    name       text NOT NULL,
    content    text NOT NULL,
    PRIMARY KEY (release_id, name)
);

-- The hash of an entry is the SHA-256 of its line's UTF-8 bytes; the line states the hash before it.
CREATE TABLE phusa.journal (
    seq  bigint PRIMARY KEY,
    line text NOT NULL,
    hash text NOT NULL
);

-- Areas stay with their release; what is official is a view under the name that the table had.
ALTER TABLE phusa.area RENAME TO release_area;
ALTER TABLE phusa.release_area DROP CONSTRAINT area_pkey;
ALTER TABLE phusa.release_area ADD PRIMARY KEY (region, season, release, target, level, code, indicator);

CREATE VIEW phusa.area AS
    SELECT a.* FROM phusa.release_area a JOIN phusa.release r USING (region, season, release)
    WHERE r.state = 'official';

CREATE OR REPLACE VIEW phusa.area_change AS
    WITH seasons AS (
        SELECT a.*, lag(season) OVER w AS season_before, lag(map_m2) OVER w AS map_m2_before,
               lag(expected_m2) OVER w AS before_m2, lag(lower_m2) OVER w AS before_lower_m2,
               lag(upper_m2) OVER w AS before_upper_m2
        FROM phusa.area a
        WINDOW w AS (PARTITION BY region, target, level, code, indicator ORDER BY season_start)
    )
    SELECT region, target, level, code, name, indicator, season, season_before, unknown_percent, note,
           map_m2, map_m2_before, expected_m2, lower_m2, upper_m2, before_m2, before_lower_m2,
           before_upper_m2, expected_m2 - before_m2 AS change_m2,
           expected_m2 - before_m2 - sqrt(power(expected_m2 - lower_m2, 2) + power(before_upper_m2 - before_m2, 2))
               AS change_lower_m2,
           expected_m2 - before_m2 + sqrt(power(upper_m2 - expected_m2, 2) + power(before_m2 - before_lower_m2, 2))
               AS change_upper_m2
    FROM seasons;

CREATE OR REPLACE VIEW phusa.area_now AS
    SELECT DISTINCT ON (c.region, c.target, c.level, c.code, c.indicator) c.*
    FROM phusa.area_change c JOIN phusa.area a USING (region, target, level, code, indicator, season)
    ORDER BY c.region, c.target, c.level, c.code, c.indicator, a.season_start DESC;

CREATE OR REPLACE VIEW phusa.published AS
    SELECT p.id, p.region, p.season, p.tile, p.target, p.key, p.sha256, p.cog, p.item
    FROM phusa.product p
    JOIN phusa.release_product m ON m.product_id = p.id
    JOIN phusa.release r ON r.id = m.release_id AND r.state = 'official';

CREATE OR REPLACE VIEW phusa.map AS
    SELECT p.region, p.season, p.tile, p.target, t.rast
    FROM phusa.raster t
    JOIN phusa.product p ON p.id = t.product_id
    JOIN phusa.release_product m ON m.product_id = p.id
    JOIN phusa.release r ON r.id = m.release_id AND r.state = 'official';

-- --- the journal --------------------------------------------------------------------------------

-- Append an entry about a release. The lock makes the chain one chain, and publications one at a time.
CREATE FUNCTION phusa.note(action text, about phusa.release, more jsonb DEFAULT '{}') RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, phusa, pg_temp AS $$
DECLARE
    last journal;
    line text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('phusa.publish'));
    SELECT * INTO last FROM journal ORDER BY seq DESC LIMIT 1;
    line := (jsonb_build_object(
        'seq', coalesce(last.seq, 0) + 1,
        'previous', coalesce(last.hash, repeat('0', 64)),
        'at', to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'by', session_user, 'action', action, 'region', about.region, 'season', about.season,
        'release', about.release, 'manifest', encode(sha256(convert_to(about.manifest, 'UTF8')), 'hex')
    ) || more)::text;
    INSERT INTO journal VALUES
        (coalesce(last.seq, 0) + 1, line, encode(sha256(convert_to(line, 'UTF8')), 'hex'));
END $$;

-- What a release is made of, as `sha256sum` would list it.
CREATE FUNCTION phusa.manifest_of(of_release bigint) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, phusa, pg_temp AS $$
    WITH p AS (
        SELECT p.* FROM product p JOIN release_product m ON m.product_id = p.id WHERE m.release_id = of_release
    ), part (digest, name) AS (
        SELECT sha256(convert_to(concat_ws(E'\n', region, season, tile, target, key, sha256, item::text), 'UTF8')),
               'record ' || tile || '_' || target FROM p
        UNION ALL SELECT sha256(coalesce(tiles, '')), 'pixels ' || tile || '_' || target FROM p
        UNION ALL SELECT decode(f.value, 'hex'), 'file ' || f.key FROM p, jsonb_each_text(p.files) f
        UNION ALL SELECT sha256(convert_to(content, 'UTF8')), 'document ' || name
        FROM document WHERE release_id = of_release
    )
    SELECT string_agg(encode(digest, 'hex') || '  ' || name || E'\n', '' ORDER BY name COLLATE "C") FROM part
$$;

-- --- what was published before there was a journal ----------------------------------------------

DO $$
DECLARE
    old phusa.release_before;
    made phusa.release;
    collection text;
BEGIN
    FOR old IN SELECT * FROM phusa.release_before ORDER BY published_at, region, season LOOP
        SELECT * INTO made FROM phusa.release
            WHERE region = old.region AND season = old.season AND release = old.release;
        IF NOT FOUND THEN
            INSERT INTO phusa.release (region, season, season_start, season_end, release, manifest, state)
            SELECT old.region, old.season, left(item #>> '{properties,start_datetime}', 10)::date,
                   left(item #>> '{properties,end_datetime}', 10)::date, old.release, '', 'superseded'
            FROM phusa.product WHERE id = ANY (old.products) LIMIT 1
            RETURNING * INTO made;
            CONTINUE WHEN NOT FOUND;
            INSERT INTO phusa.release_product
                SELECT made.id, id FROM phusa.product WHERE id = ANY (old.products);
            SELECT c.content::text INTO collection FROM pgstac.collections c
                JOIN phusa.product p ON p.item ->> 'collection' = c.id WHERE p.id = old.products[1];
            IF collection IS NOT NULL THEN
                INSERT INTO phusa.document VALUES (made.id, 'collection.json', collection);
            END IF;
            INSERT INTO phusa.document
                SELECT made.id, 'areas.json', json_agg(a)::text FROM phusa.release_area a
                WHERE (region, season, release) = (old.region, old.season, old.release) HAVING count(*) > 0;
            UPDATE phusa.release SET manifest = phusa.manifest_of(made.id) WHERE id = made.id RETURNING * INTO made;
        END IF;
        UPDATE phusa.release SET state = 'superseded'
            WHERE region = old.region AND season = old.season AND state = 'official';
        UPDATE phusa.release SET state = 'official' WHERE id = made.id;
        PERFORM phusa.note('publish', made, jsonb_build_object('adopted', true, 'official_since',
            to_char(old.published_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')));
    END LOOP;
END $$;
DROP TABLE phusa.release_before;
DROP INDEX phusa.product_published;
ALTER TABLE phusa.product DROP COLUMN state;

-- --- what cannot be changed ---------------------------------------------------------------------

CREATE FUNCTION phusa.submitted(product bigint) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, phusa, pg_temp AS $$
    SELECT EXISTS (SELECT FROM release_product WHERE product_id = product)
$$;

CREATE FUNCTION phusa.refuse() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION '% of %.% is refused: what was submitted for a release stays as it is',
        TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME USING ERRCODE = 'PH005';
END $$;

CREATE FUNCTION phusa.keep_product() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, phusa, pg_temp AS $$
BEGIN
    IF submitted(OLD.id) THEN
        RAISE EXCEPTION '% of product %_% is refused: it was submitted for a release', TG_OP, OLD.tile, OLD.target
            USING ERRCODE = 'PH005';
    END IF;
    RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END $$;

-- A tile of a submitted product may only become what its digest says: that is how damage is made good.
CREATE FUNCTION phusa.keep_tile() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, phusa, public, pg_temp AS $$
DECLARE
    owner bigint := CASE TG_OP WHEN 'INSERT' THEN NEW.product_id ELSE OLD.product_id END;
BEGIN
    IF submitted(owner) THEN
        IF TG_OP = 'DELETE' OR NEW.product_id <> owner OR sha256(NEW.rast::bytea) IS DISTINCT FROM
            (SELECT substr(tiles, 32 * NEW.number - 31, 32) FROM product WHERE id = owner) THEN
            RAISE EXCEPTION '% of a raster tile of product % is refused: it was submitted for a release', TG_OP, owner
                USING ERRCODE = 'PH005';
        END IF;
    END IF;
    RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END $$;

CREATE FUNCTION phusa.keep_release() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, phusa, pg_temp AS $$
DECLARE
    free text[] := '{state,reviewed_by,submitted_by}' || CASE OLD.manifest WHEN '' THEN '{manifest}' ELSE '{}' END::text[];
BEGIN
    IF TG_OP = 'DELETE' OR to_jsonb(NEW) - free IS DISTINCT FROM to_jsonb(OLD) - free THEN
        RAISE EXCEPTION '% of release % is refused: only its state goes on', TG_OP, OLD.release
            USING ERRCODE = 'PH005';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER keep BEFORE UPDATE OR DELETE ON phusa.product FOR EACH ROW EXECUTE FUNCTION phusa.keep_product();
CREATE TRIGGER keep BEFORE INSERT OR UPDATE OR DELETE ON phusa.raster FOR EACH ROW EXECUTE FUNCTION phusa.keep_tile();
CREATE TRIGGER keep BEFORE UPDATE OR DELETE ON phusa.release FOR EACH ROW EXECUTE FUNCTION phusa.keep_release();
CREATE TRIGGER keep BEFORE UPDATE OR DELETE ON phusa.release_product FOR EACH ROW EXECUTE FUNCTION phusa.refuse();
CREATE TRIGGER keep BEFORE UPDATE OR DELETE ON phusa.document FOR EACH ROW EXECUTE FUNCTION phusa.refuse();
CREATE TRIGGER keep BEFORE UPDATE OR DELETE ON phusa.release_area FOR EACH ROW EXECUTE FUNCTION phusa.refuse();
CREATE TRIGGER keep BEFORE UPDATE OR DELETE ON phusa.journal FOR EACH ROW EXECUTE FUNCTION phusa.refuse();
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['product', 'raster', 'release', 'release_product', 'document', 'release_area', 'journal'] LOOP
        EXECUTE format('CREATE TRIGGER keep_all BEFORE TRUNCATE ON phusa.%I EXECUTE FUNCTION phusa.refuse()', name);
    END LOOP;
END $$;

-- --- the steps of a release ---------------------------------------------------------------------

-- Products and documents become the candidate of their season; an older candidate is withdrawn. The same
-- content again changes nothing. Returns the release's id.
CREATE FUNCTION phusa.submit(
    in_region text, in_season text, starts date, ends date, in_release text, products bigint[], documents jsonb
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, phusa, pg_temp AS $$
DECLARE
    made release;
    older release;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('phusa.publish'));
    SELECT * INTO made FROM release WHERE region = in_region AND season = in_season AND release = in_release;
    IF FOUND AND made.state <> 'withdrawn' AND (made.state <> 'superseded' OR made.reviewed_by IS NOT NULL) THEN
        RETURN made.id;
    END IF;
    FOR older IN UPDATE release SET state = 'withdrawn'
        WHERE region = in_region AND season = in_season AND state IN ('draft', 'reviewed') RETURNING * LOOP
        PERFORM note('withdraw', older, jsonb_build_object('reason', 'replaced by ' || in_release));
    END LOOP;
    IF made.id IS NOT NULL THEN
        UPDATE release SET state = 'draft', submitted_by = session_user, reviewed_by = NULL
            WHERE id = made.id RETURNING * INTO made;
        PERFORM note('submit', made);
        RETURN made.id;
    END IF;
    IF (SELECT count(*) FROM product p WHERE id = ANY (products) AND region = in_region AND season = in_season
        AND octet_length(tiles) = 32 * (SELECT count(*) FROM raster WHERE product_id = p.id))
        <> cardinality(products) OR cardinality(products) = 0 THEN
        RAISE EXCEPTION 'a product of season % is not whole in the database; map it again', in_season
            USING ERRCODE = 'PH002';
    END IF;
    INSERT INTO release (region, season, season_start, season_end, release, manifest)
        VALUES (in_region, in_season, starts, ends, in_release, '') RETURNING * INTO made;
    INSERT INTO release_product SELECT made.id, unnest(products);
    INSERT INTO document SELECT made.id, key, value FROM jsonb_each_text(documents);
    INSERT INTO release_area SELECT a.* FROM document d, json_populate_recordset(NULL::release_area, d.content::json) a
        WHERE d.release_id = made.id AND d.name = 'areas.json';
    UPDATE release SET manifest = manifest_of(made.id) WHERE id = made.id RETURNING * INTO made;
    PERFORM note('submit', made);
    RETURN made.id;
END $$;

-- A second person's word on a candidate: it is accepted, or withdrawn with a reason.
CREATE FUNCTION phusa.review(of_release bigint, accept boolean, remark text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, phusa, pg_temp AS $$
DECLARE
    one release;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('phusa.publish'));
    SELECT * INTO one FROM release WHERE id = of_release;
    IF one.state IS DISTINCT FROM 'draft' THEN
        RAISE EXCEPTION 'release % is %, expected a draft', coalesce(one.release, '?'), coalesce(one.state, 'unknown')
            USING ERRCODE = 'PH002';
    ELSIF accept AND one.submitted_by = session_user THEN
        RAISE EXCEPTION '% submitted release %; another person must review it', session_user, one.release
            USING ERRCODE = 'PH003';
    END IF;
    IF accept THEN
        UPDATE release SET state = 'reviewed', reviewed_by = session_user WHERE id = of_release RETURNING * INTO one;
        PERFORM note('review', one, jsonb_build_object('remark', remark));
    ELSE
        UPDATE release SET state = 'withdrawn' WHERE id = of_release RETURNING * INTO one;
        PERFORM note('reject', one, jsonb_build_object('reason', remark));
    END IF;
END $$;

-- Make a release the official one of its season, with all that belongs to it, or nothing of it. Owners
-- may leave the review out, and the journal then says so. False where it is official already.
CREATE FUNCTION phusa.publish(of_release bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, phusa, pg_temp AS $$
DECLARE
    one release;
    before release;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('phusa.publish'));
    SELECT * INTO one FROM release WHERE id = of_release;
    IF one.state = 'official' THEN
        RETURN false;
    ELSIF one.state IS NULL OR one.state = 'withdrawn' THEN
        RAISE EXCEPTION 'release % is %; submit it again', coalesce(one.release, '?'), coalesce(one.state, 'unknown')
            USING ERRCODE = 'PH002';
    ELSIF one.reviewed_by = session_user THEN
        RAISE EXCEPTION '% reviewed release %; another person must publish it', session_user, one.release
            USING ERRCODE = 'PH003';
    ELSIF one.reviewed_by IS NULL AND NOT pg_has_role(session_user, 'phusa_owner', 'MEMBER') THEN
        RAISE EXCEPTION 'release % waits for review by another person than %', one.release, one.submitted_by
            USING ERRCODE = 'PH003';
    END IF;
    UPDATE release SET state = 'superseded' WHERE region = one.region AND season = one.season AND state = 'official'
        RETURNING * INTO before;
    UPDATE release SET state = 'official' WHERE id = of_release RETURNING * INTO one;
    PERFORM list_items(of_release);
    PERFORM note('publish', one, jsonb_build_object('reviewed_by', one.reviewed_by, 'supersedes', before.release));
    RETURN true;
END $$;

-- Put a release's items into pgSTAC in place of those of the release before.
CREATE FUNCTION phusa.list_items(of_release bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pgstac, phusa, public, pg_temp AS $$
DECLARE
    listed jsonb := (SELECT jsonb_agg(p.item) FROM phusa.product p
        JOIN phusa.release_product m ON m.product_id = p.id WHERE m.release_id = of_release);
BEGIN
    PERFORM pgstac.upsert_collection((SELECT content::jsonb FROM phusa.document
        WHERE release_id = of_release AND name = 'collection.json'));
    DELETE FROM pgstac.items WHERE collection = listed #>> '{0,collection}'
        AND NOT id IN (SELECT i ->> 'id' FROM jsonb_array_elements(listed) i);
    PERFORM pgstac.upsert_items(listed);
END $$;

-- Put the items of an official release into pgSTAC again, where they were lost.
CREATE FUNCTION phusa.relist(of_release bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, phusa, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('phusa.publish'));
    IF EXISTS (SELECT FROM release WHERE id = of_release AND state = 'official') THEN
        PERFORM list_items(of_release);
    END IF;
END $$;

-- Take the official release of a season back; nothing is official then.
CREATE FUNCTION phusa.withdraw(of_release bigint, reason text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, phusa, pg_temp AS $$
DECLARE
    one release;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('phusa.publish'));
    UPDATE release SET state = 'withdrawn' WHERE id = of_release AND state = 'official' RETURNING * INTO one;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'release % is not official', of_release USING ERRCODE = 'PH002';
    END IF;
    DELETE FROM pgstac.items WHERE collection = (SELECT p.item ->> 'collection' FROM product p
        JOIN release_product m ON m.product_id = p.id WHERE m.release_id = of_release LIMIT 1);
    PERFORM note('withdraw', one, jsonb_build_object('reason', reason));
END $$;

-- --- what was official when ---------------------------------------------------------------------

-- The journal with its lines taken apart. Of what was published before there was a journal, `at` is the
-- day of its publication.
CREATE VIEW phusa.history AS
    SELECT seq, coalesce(l ->> 'official_since', l ->> 'at')::timestamptz AS at, l ->> 'by' AS person,
           l ->> 'action' AS action, l ->> 'region' AS region, l ->> 'season' AS season, l ->> 'release' AS release,
           l ->> 'reviewed_by' AS reviewed_by, coalesce(l ->> 'reason', l ->> 'remark') AS remark
    FROM (SELECT seq, line::jsonb AS l FROM phusa.journal) j;

-- Valid time (the season) and transaction time (while it was official) of every release that ever was.
CREATE VIEW phusa.release_period AS
    SELECT r.id AS release_id, h.region, h.season, r.season_start, r.season_end, h.release,
           h.at AS official_from, h.until AS official_until
    FROM (SELECT *, lead(at) OVER (PARTITION BY region, season ORDER BY seq) AS until FROM phusa.history
          WHERE action IN ('publish', 'withdraw')
            AND (action = 'publish' OR EXISTS (SELECT FROM phusa.history p WHERE p.action = 'publish'
                 AND (p.region, p.season, p.release) = (history.region, history.season, history.release)))) h
    JOIN phusa.release r ON (r.region, r.season, r.release) = (h.region, h.season, h.release)
    WHERE h.action = 'publish';

-- What readers saw at a moment: one row a product.
CREATE FUNCTION phusa.published_on(moment timestamptz)
RETURNS TABLE (region text, season text, release text, tile text, target text, key text, sha256 text, cog text, item jsonb)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, phusa, pg_temp AS $$
    SELECT p.region, p.season, r.release, p.tile, p.target, p.key, p.sha256, p.cog, p.item
    FROM release_period r
    JOIN release_product m ON m.release_id = r.release_id
    JOIN product p ON p.id = m.product_id
    WHERE r.official_from <= moment AND (r.official_until > moment) IS NOT FALSE
$$;

-- The value of a layer at a WGS 84 place, in its unit, as the map that was official at `moment` had it.
CREATE FUNCTION phusa.value_on(
    in_region text, in_season text, in_target text, layer text, lon double precision, lat double precision,
    moment timestamptz
) RETURNS double precision
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, phusa, public, pg_temp AS $$
    SELECT v.stored * v.scale FROM (
        SELECT ST_Value(t.rast, b.number, ST_Transform(g.place, ST_SRID(t.rast))) AS stored, b.scale
        FROM (SELECT ST_SetSRID(ST_MakePoint(lon, lat), 4326) AS place) g, release_period r
        JOIN release_product m ON m.release_id = r.release_id
        JOIN product p ON p.id = m.product_id,
        LATERAL (SELECT ordinality::int AS number, coalesce((value ->> 'raster:scale')::float8, 1) AS scale
                 FROM jsonb_array_elements(p.item #> '{assets,map,bands}') WITH ORDINALITY
                 WHERE value ->> 'name' = layer) b,
        LATERAL (SELECT rast FROM raster WHERE product_id = p.id
                 AND ST_ConvexHull(rast) && ST_Transform(g.place, right(p.item #>> '{properties,proj:code}', 5)::int)) t
        WHERE r.region = in_region AND r.season = in_season AND p.target = in_target
          AND r.official_from <= moment AND (r.official_until > moment) IS NOT FALSE
        OFFSET 0) v
    WHERE v.stored IS NOT NULL LIMIT 1
$$;

-- As before, and each pixel is looked up once.
CREATE OR REPLACE FUNCTION phusa.value(
    in_region text, in_season text, in_target text, layer text, lon double precision, lat double precision
) RETURNS double precision
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, phusa, public, pg_temp AS $$
    SELECT v.stored * v.scale FROM (
        SELECT ST_Value(t.rast, b.number, ST_Transform(g.place, ST_SRID(t.rast))) AS stored, b.scale
        FROM (SELECT ST_SetSRID(ST_MakePoint(lon, lat), 4326) AS place) g, published p,
        LATERAL (SELECT ordinality::int AS number, coalesce((value ->> 'raster:scale')::float8, 1) AS scale
                 FROM jsonb_array_elements(p.item #> '{assets,map,bands}') WITH ORDINALITY
                 WHERE value ->> 'name' = layer) b,
        LATERAL (SELECT rast FROM raster WHERE product_id = p.id
                 AND ST_ConvexHull(rast) && ST_Transform(g.place, right(p.item #>> '{properties,proj:code}', 5)::int)) t
        WHERE p.region = in_region AND p.season = in_season AND p.target = in_target
        OFFSET 0) v
    WHERE v.stored IS NOT NULL LIMIT 1
$$;
