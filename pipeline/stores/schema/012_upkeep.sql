-- Upkeep: versions in pgSTAC, buckets that are known to the database, damage that may be mended and by nothing
-- but what was sealed, and samples whose places do not show through statistics.

-- --- buckets ------------------------------------------------------------------------------------

-- Where the objects of a region lie beside the files below `path`: so that orphans can be found there.
CREATE TABLE phusa.bucket (
    address  text NOT NULL,
    endpoint text NOT NULL,
    region   text NOT NULL,
    path     text NOT NULL REFERENCES phusa.root,
    PRIMARY KEY (address, endpoint, region, path)
);
COMMENT ON TABLE phusa.bucket IS 'Các kho S3 chứa bản sao của tệp | S3 buckets that hold copies of the files';
COMMENT ON COLUMN phusa.bucket.address IS 'Địa chỉ s3:// | Address, s3://';
COMMENT ON COLUMN phusa.bucket.endpoint IS 'Dịch vụ S3; trống nếu là Amazon | S3 service; empty for Amazon''s';
COMMENT ON COLUMN phusa.bucket.region IS 'Vùng lập bản đồ | Region that is mapped';
COMMENT ON COLUMN phusa.bucket.path IS 'Thư mục gốc tương ứng | Folder that it mirrors';

-- --- pgSTAC: official items, and those that they replaced -----------------------------------------

-- Version numbers count a season's releases as they were submitted. pgSTAC drops nulls, and STAC wants a
-- `datetime`: the season's first day stands there.
CREATE FUNCTION phusa.listing(in_region text, in_season text)
RETURNS TABLE (collection text, id text, content jsonb)
LANGUAGE sql STABLE SET search_path = pg_catalog, phusa, pg_temp AS $$
    WITH r AS (
        SELECT id, state, row_number() OVER (ORDER BY id) AS version
        FROM release WHERE region = in_region AND season = in_season
    ), p AS (
        SELECT p.tile, p.target, p.item, r.version, r.state = 'official' AS official,
               (p.item ->> 'collection') || CASE r.state WHEN 'official' THEN '' ELSE '-superseded' END AS collection,
               (p.item ->> 'id') || CASE r.state WHEN 'official' THEN '' ELSE '_v' || r.version END AS id
        FROM r JOIN release_product m ON m.release_id = r.id JOIN product p ON p.id = m.product_id
        WHERE r.state IN ('official', 'superseded')
    ), l AS (
        SELECT *, lag(href) OVER w AS predecessor, lead(href) OVER w AS successor,
               max(href) FILTER (WHERE official) OVER (PARTITION BY tile, target) AS latest
        FROM (SELECT *, 'collections/' || collection || '/items/' || id AS href FROM p) p
        WINDOW w AS (PARTITION BY tile, target ORDER BY version)
    )
    SELECT collection, id, item || jsonb_build_object(
        'id', id, 'collection', collection,
        'properties', (item -> 'properties') || jsonb_build_object('version', version::text,
                'datetime', coalesce(item #>> '{properties,datetime}', item #>> '{properties,start_datetime}'))
            || CASE WHEN official THEN '{}' ELSE '{"deprecated": true}'::jsonb END,
        'links', coalesce(item -> 'links', '[]') || (
            SELECT coalesce(jsonb_agg(jsonb_build_object('rel', rel, 'href', href, 'type', 'application/geo+json')
                                      ORDER BY rel), '[]')
            FROM (VALUES ('predecessor-version', predecessor), ('successor-version', successor),
                         ('latest-version', CASE WHEN NOT official THEN latest END)) AS v(rel, href)
            WHERE href IS NOT NULL))
    FROM l
$$;

-- The records of a season's collections: that of the official maps, and that of those before them.
CREATE FUNCTION phusa.collections(in_region text, in_season text)
RETURNS TABLE (id text, content jsonb)
LANGUAGE sql STABLE SET search_path = pg_catalog, phusa, pg_temp AS $$
    WITH r AS (
        SELECT state, d.content::jsonb AS said, row_number() OVER (ORDER BY r.id) AS version
        FROM release r LEFT JOIN document d ON d.release_id = r.id AND d.name = 'collection.json'
        WHERE region = in_region AND season = in_season
    ), old AS (
        SELECT said FROM r WHERE state = 'superseded' AND said IS NOT NULL ORDER BY version DESC LIMIT 1
    ), now AS (
        SELECT said, version FROM r WHERE state = 'official' AND said IS NOT NULL
    )
    SELECT said ->> 'id', said || jsonb_build_object('version', version::text, 'links',
        CASE WHEN EXISTS (SELECT FROM old) THEN jsonb_build_array(jsonb_build_object('rel', 'version-history',
            'href', 'collections/' || (said ->> 'id') || '-superseded/items', 'type', 'application/geo+json'))
        ELSE '[]' END)
    FROM now
    UNION ALL
    SELECT (said ->> 'id') || '-superseded', said || jsonb_build_object(
        'id', (said ->> 'id') || '-superseded', 'deprecated', true,
        'title', (said ->> 'title') || ' (đã được thay thế, superseded)',
        'description', 'Các bản đồ đã được thay thế. Maps that were superseded. ' || (said ->> 'description'),
        'links', CASE WHEN EXISTS (SELECT FROM now) THEN jsonb_build_array(jsonb_build_object('rel', 'latest-version',
            'href', 'collections/' || (said ->> 'id'), 'type', 'application/json')) ELSE '[]' END)
    FROM old
$$;

-- Let pgSTAC show of a season what is official and what that replaced, and nothing else.
CREATE FUNCTION phusa.list_season(in_region text, in_season text) RETURNS void
LANGUAGE plpgsql SET search_path = pgstac, phusa, public, pg_temp AS $$
DECLARE
    made record;
BEGIN
    DELETE FROM pgstac.items i WHERE i.collection IN (
            SELECT (p.item ->> 'collection') || e.ending FROM phusa.product p, (VALUES (''), ('-superseded')) AS e(ending)
            WHERE p.region = in_region AND p.season = in_season)
        AND NOT EXISTS (SELECT FROM phusa.listing(in_region, in_season) l WHERE (l.collection, l.id) = (i.collection, i.id));
    FOR made IN SELECT * FROM phusa.collections(in_region, in_season) LOOP
        PERFORM pgstac.upsert_collection(made.content);
        PERFORM pgstac.upsert_items((SELECT jsonb_agg(l.content ORDER BY l.id)
            FROM phusa.listing(in_region, in_season) l WHERE l.collection = made.id));
    END LOOP;
END $$;

CREATE OR REPLACE FUNCTION phusa.list_items(of_release bigint) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, phusa, pg_temp AS $$
    SELECT list_season(region, season) FROM release WHERE id = of_release
$$;

-- Let pgSTAC show again what it should of the season of a release.
CREATE OR REPLACE FUNCTION phusa.relist(of_release bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, phusa, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('phusa.publish'));
    PERFORM list_items(of_release);
END $$;

CREATE OR REPLACE FUNCTION phusa.withdraw(of_release bigint, reason text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, phusa, pg_temp AS $$
DECLARE
    one release;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('phusa.publish'));
    UPDATE release SET state = 'withdrawn' WHERE id = of_release AND state = 'official' RETURNING * INTO one;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'release % is not official', of_release USING ERRCODE = 'PH002';
    END IF;
    PERFORM list_items(of_release);
    PERFORM note('withdraw', one, jsonb_build_object('reason', reason));
END $$;

-- Nothing seals these; who submitted a release, and when, stands in the journal.
ALTER TABLE phusa.product DROP COLUMN made_by, DROP COLUMN made_at;

-- --- what may be mended -------------------------------------------------------------------------

-- Whether the manifest of a release has a part of this digest.
CREATE FUNCTION phusa.sealed(of_release bigint, digest bytea, name text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, phusa, pg_temp AS $$
    SELECT EXISTS (SELECT FROM release WHERE id = of_release AND
        position(E'\n' || encode(digest, 'hex') || '  ' || name || E'\n' IN E'\n' || manifest) > 0)
$$;

-- Whether a release takes parts still: its manifest is written last.
CREATE FUNCTION phusa.growing(of_release bigint) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, phusa, pg_temp AS $$
    SELECT EXISTS (SELECT FROM release WHERE id = of_release AND manifest = '')
$$;

-- Whether a product is, part by part, what a release's manifest says.
CREATE FUNCTION phusa.as_sealed(p phusa.product, of_release bigint) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, phusa, pg_temp AS $$
    SELECT sealed(of_release, sha256(convert_to(concat_ws(E'\n', p.region, p.season, p.tile, p.target, p.key, p.sha256,
                                                          p.item::text), 'UTF8')), 'record ' || p.tile || '_' || p.target)
        AND sealed(of_release, sha256(coalesce(p.tiles, '')), 'pixels ' || p.tile || '_' || p.target)
        AND NOT EXISTS (SELECT FROM jsonb_each_text(p.files) f
                        WHERE NOT sealed(of_release, decode(f.value, 'hex'), 'file ' || f.key))
        AND (SELECT count(*) FROM jsonb_object_keys(p.files)) = (
            SELECT count(*) FROM release r, string_to_table(r.manifest, E'\n') l
            WHERE r.id = of_release AND starts_with(substr(l, 65), '  file ' || p.tile || '_' || p.target || '.'))
$$;

-- A submitted product may only become what every release that has it says it is.
CREATE OR REPLACE FUNCTION phusa.keep_product() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, phusa, pg_temp AS $$
BEGIN
    IF submitted(OLD.id) AND (TG_OP = 'DELETE' OR NEW.id <> OLD.id OR NEW IS NOT DISTINCT FROM OLD OR EXISTS (
        SELECT FROM release_product m WHERE m.product_id = OLD.id AND NOT as_sealed(NEW, m.release_id))) THEN
        RAISE EXCEPTION '% of product %_% is refused: it was submitted for a release', TG_OP, OLD.tile, OLD.target
            USING ERRCODE = 'PH005';
    END IF;
    RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END $$;

-- A tile of a submitted product may only become what its digest says; one beyond the list may go.
CREATE OR REPLACE FUNCTION phusa.keep_tile() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, phusa, public, pg_temp AS $$
DECLARE
    owner bigint := CASE TG_OP WHEN 'INSERT' THEN NEW.product_id ELSE OLD.product_id END;
    refused boolean := false;
BEGIN
    IF submitted(owner) THEN
        IF TG_OP = 'DELETE' THEN
            refused := (SELECT OLD.number BETWEEN 1 AND octet_length(tiles) / 32 FROM product WHERE id = owner) IS NOT FALSE;
        ELSE
            refused := NEW.product_id <> owner OR sha256(NEW.rast::bytea) IS DISTINCT FROM
                (SELECT substr(tiles, 32 * NEW.number - 31, 32) FROM product WHERE id = owner);
        END IF;
    END IF;
    IF refused THEN
        RAISE EXCEPTION '% of a raster tile of product % is refused: it was submitted for a release', TG_OP, owner
            USING ERRCODE = 'PH005';
    END IF;
    RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END $$;

-- A release's manifest may only become one that the journal states of it.
CREATE OR REPLACE FUNCTION phusa.keep_release() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, phusa, pg_temp AS $$
DECLARE
    free text[] := '{state,reviewed_by,submitted_by}';
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.manifest <> OLD.manifest AND (OLD.manifest = '' OR EXISTS (
        SELECT FROM journal j, (SELECT jsonb_build_object('region', NEW.region, 'season', NEW.season, 'release', NEW.release,
            'manifest', encode(sha256(convert_to(NEW.manifest, 'UTF8')), 'hex')) AS said) s
        WHERE j.hash = encode(sha256(convert_to(j.line, 'UTF8')), 'hex') AND j.line::jsonb @> s.said)) THEN
        free := free || '{manifest}'::text[];
    END IF;
    IF TG_OP = 'DELETE' OR to_jsonb(NEW) - free IS DISTINCT FROM to_jsonb(OLD) - free THEN
        RAISE EXCEPTION '% of release % is refused: only its state goes on', TG_OP, OLD.release
            USING ERRCODE = 'PH005';
    END IF;
    RETURN NEW;
END $$;

-- What belongs to a release: nothing is added once it is sealed but what the seal names, and only what
-- the seal does not name may go.
CREATE FUNCTION phusa.keep_member() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, phusa, pg_temp AS $$
DECLARE
    one release_product := CASE TG_OP WHEN 'INSERT' THEN NEW ELSE OLD END;
    p product;
    named boolean;
BEGIN
    SELECT * INTO p FROM product WHERE id = one.product_id;
    IF TG_OP = 'INSERT' AND (growing(one.release_id) OR as_sealed(p, one.release_id)) THEN
        RETURN one;
    ELSIF TG_OP = 'DELETE' AND p.id IS NOT NULL AND NOT as_sealed(p, one.release_id) THEN
        named := (SELECT position('  record ' || p.tile || '_' || p.target || E'\n' IN manifest) > 0
                  FROM release WHERE id = one.release_id);
        IF NOT named OR EXISTS (
            SELECT FROM release_product m JOIN product o ON o.id = m.product_id
            WHERE m.release_id = one.release_id AND (o.tile, o.target) = (p.tile, p.target) AND as_sealed(o, m.release_id)) THEN
            RETURN one;
        END IF;
    END IF;
    RAISE EXCEPTION '% of %.% is refused: what was submitted for a release stays as it is',
        TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME USING ERRCODE = 'PH005';
END $$;

CREATE FUNCTION phusa.keep_document() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, phusa, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF growing(OLD.release_id) OR NOT EXISTS (SELECT FROM release r WHERE r.id = OLD.release_id
            AND position('  document ' || OLD.name || E'\n' IN r.manifest) > 0) THEN
            RETURN OLD;
        END IF;
    ELSIF (TG_OP = 'INSERT' OR (NEW.release_id, NEW.name) = (OLD.release_id, OLD.name))
        AND (growing(NEW.release_id)
             OR sealed(NEW.release_id, sha256(convert_to(NEW.content, 'UTF8')), 'document ' || NEW.name)) THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION '% of %.% is refused: what was submitted for a release stays as it is',
        TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME USING ERRCODE = 'PH005';
END $$;

-- Whether a row of areas stands in its release's sealed document.
CREATE FUNCTION phusa.is_told(a phusa.release_area) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, phusa, pg_temp AS $$
    SELECT EXISTS (
        SELECT FROM release r JOIN document d ON d.release_id = r.id AND d.name = 'areas.json',
             json_populate_recordset(NULL::release_area, d.content::json) s
        WHERE (r.region, r.season, r.release) = (a.region, a.season, a.release) AND s IS NOT DISTINCT FROM a
          AND sealed(r.id, sha256(convert_to(d.content, 'UTF8')), 'document areas.json'))
$$;

CREATE FUNCTION phusa.keep_area() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, phusa, pg_temp AS $$
DECLARE
    row_was release_area := CASE TG_OP WHEN 'INSERT' THEN NEW ELSE OLD END;
    sealed_already boolean := EXISTS (SELECT FROM release r WHERE r.manifest <> ''
        AND (r.region, r.season, r.release) = (row_was.region, row_was.season, row_was.release));
BEGIN
    IF TG_OP = 'INSERT' AND (NOT sealed_already OR is_told(NEW)) THEN
        RETURN NEW;
    ELSIF TG_OP = 'DELETE' AND NOT EXISTS (SELECT FROM release r
        WHERE (r.region, r.season, r.release) = (row_was.region, row_was.season, row_was.release)) THEN
        RETURN OLD;
    ELSIF TG_OP = 'DELETE' AND sealed_already AND NOT is_told(OLD) AND EXISTS (
        SELECT FROM release r JOIN document d ON d.release_id = r.id AND d.name = 'areas.json'
        WHERE (r.region, r.season, r.release) = (row_was.region, row_was.season, row_was.release)
          AND sealed(r.id, sha256(convert_to(d.content, 'UTF8')), 'document areas.json')) THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION '% of %.% is refused: what was submitted for a release stays as it is',
        TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME USING ERRCODE = 'PH005';
END $$;

DROP TRIGGER keep ON phusa.release_product;
DROP TRIGGER keep ON phusa.document;
DROP TRIGGER keep ON phusa.release_area;
CREATE TRIGGER keep BEFORE INSERT OR UPDATE OR DELETE ON phusa.release_product FOR EACH ROW EXECUTE FUNCTION phusa.keep_member();
CREATE TRIGGER keep BEFORE INSERT OR UPDATE OR DELETE ON phusa.document FOR EACH ROW EXECUTE FUNCTION phusa.keep_document();
CREATE TRIGGER keep BEFORE INSERT OR UPDATE OR DELETE ON phusa.release_area FOR EACH ROW EXECUTE FUNCTION phusa.keep_area();

-- --- samples ------------------------------------------------------------------------------------

-- Anyone may ask PostGIS how many rows it reckons in a box, and what an index spans, past row-level security:
-- so of places there is neither.
DROP INDEX phusa.plot_place;
ALTER TABLE phusa.plot ALTER COLUMN place SET STATISTICS 0;
DELETE FROM pg_statistic WHERE starelid = 'phusa.plot'::regclass AND staattnum =
    (SELECT attnum FROM pg_attribute WHERE attrelid = 'phusa.plot'::regclass AND attname = 'place');

-- Each plot with all its results is sealed by a digest, and all seals by the journal: so `verify` names what was
-- altered past the import. Only owners see seals: whoever has one can try places until it fits.
CREATE TABLE phusa.sample_seal (
    plot_id bigint PRIMARY KEY REFERENCES phusa.plot ON DELETE CASCADE,
    seal    bytea NOT NULL
);
COMMENT ON TABLE phusa.sample_seal IS 'Mã băm của từng điểm lấy mẫu và kết quả | Digest of each plot and its results';
COMMENT ON COLUMN phusa.sample_seal.plot_id IS 'Điểm lấy mẫu | Plot';
COMMENT ON COLUMN phusa.sample_seal.seal IS 'SHA-256 của điểm và kết quả | SHA-256 of the plot and its results';

CREATE FUNCTION phusa.seal_of(p phusa.plot) RETURNS bytea
LANGUAGE sql STABLE SET search_path = pg_catalog, phusa, public, pg_temp AS $$
    SELECT sha256(convert_to(concat_ws(E'\n', p.project, p.code, p.province, p.licence, encode(p.place::bytea, 'hex'), (
        SELECT string_agg(concat_ws(E'\t', s.sampled_on - date '2000-01-01', encode(float8send(s.upper_cm), 'hex'),
            encode(float8send(s.lower_cm), 'hex'), r.procedure, encode(float8send(r.value), 'hex')), E'\n'
            ORDER BY s.sampled_on, s.upper_cm, s.lower_cm, r.procedure COLLATE "C")
        FROM specimen s LEFT JOIN result r ON r.specimen_id = s.id WHERE s.plot_id = p.id)), 'UTF8'))
$$;

-- The digest of all seals, and that which the journal has; both NULL where there never was a sample.
CREATE FUNCTION phusa.sample_state(OUT stored text, OUT told text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, phusa, pg_temp AS $$
DECLARE
    said text;
BEGIN
    SELECT encode(sha256(string_agg(seal, '' ORDER BY project COLLATE "C", code COLLATE "C")), 'hex') INTO stored
        FROM sample_seal JOIN plot ON id = plot_id;
    SELECT line INTO said FROM journal WHERE line LIKE '%"action": "import"%' ORDER BY seq DESC LIMIT 1;
    told := said::jsonb ->> 'samples';
END $$;

-- Let the journal have the samples as they are; an owner says why, after a correction by hand.
CREATE FUNCTION phusa.seal_samples(why text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, phusa, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('phusa.publish'));
    INSERT INTO sample_seal AS k SELECT id, seal_of(p) FROM plot p
        ON CONFLICT (plot_id) DO UPDATE SET seal = excluded.seal WHERE k.seal <> excluded.seal;
    PERFORM note_samples(why);
END $$;

CREATE FUNCTION phusa.note_samples(why text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, phusa, pg_temp AS $$
DECLARE
    now record;
BEGIN
    SELECT * INTO now FROM sample_state();
    IF now.stored IS DISTINCT FROM now.told THEN
        PERFORM note('import', NULL::release, jsonb_strip_nulls(jsonb_build_object('samples', now.stored, 'reason', why)));
    END IF;
END $$;

-- Rows of project, code, lon, lat, province, licence, sampled_on, upper_cm, lower_cm, procedure, value.
-- A row that is there already takes the new value; the same rows again change nothing. Returns the number of rows.
CREATE OR REPLACE FUNCTION phusa.import_samples(samples jsonb) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, phusa, public, pg_temp AS $$
DECLARE
    wrong text;
    number bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('phusa.publish'));  -- the journal is one chain
    IF EXISTS (SELECT FROM sample_state() WHERE stored IS DISTINCT FROM told) THEN
        RAISE EXCEPTION 'the samples are not those of the journal: samples were removed past the import; `phusa verify` '
            'tells, and an owner may seal them anew by phusa.seal_samples(reason)' USING ERRCODE = 'PH005';
    END IF;
    CREATE TEMP TABLE incoming ON COMMIT DROP AS SELECT * FROM jsonb_to_recordset(samples) AS x(
        project text, code text, lon float8, lat float8, province text, licence text, sampled_on date,
        upper_cm float8, lower_cm float8, procedure text, value float8);
    SELECT coalesce(nullif(btrim(code), ''), '?') || ': ' || CASE
        WHEN nullif(btrim(project), '') IS NULL OR nullif(btrim(code), '') IS NULL
            OR nullif(btrim(province), '') IS NULL THEN 'project, code and province must be stated'
        WHEN o.procedure IS NULL THEN 'procedure ' || coalesce(i.procedure, '?') || ' is not known'
        WHEN l.name IS NULL THEN 'licence ' || coalesce(i.licence, '?') || ' is not known'
        WHEN NOT (lon BETWEEN -180 AND 180 AND lat BETWEEN -90 AND 90) THEN 'its place is not on the globe'
        WHEN NOT (upper_cm >= 0 AND lower_cm > upper_cm) THEN 'depth ' || upper_cm || ' to ' || lower_cm || ' cm is no layer'
        ELSE i.value || ' ' || o.unit || ' is beyond ' || o.lowest || ' to ' || o.highest END INTO wrong
    FROM pg_temp.incoming i LEFT JOIN observation o USING (procedure) LEFT JOIN licence l ON l.name = i.licence
    WHERE (btrim(project) <> '' AND btrim(code) <> '' AND btrim(province) <> '' AND o.procedure IS NOT NULL
           AND l.name IS NOT NULL AND lon BETWEEN -180 AND 180 AND lat BETWEEN -90 AND 90 AND upper_cm >= 0
           AND lower_cm > upper_cm AND i.value BETWEEN o.lowest AND o.highest) IS NOT TRUE LIMIT 1;
    IF wrong IS NULL THEN
        SELECT code || ': of one plot two places, provinces or licences are told' INTO wrong FROM pg_temp.incoming
        GROUP BY project, code HAVING count(DISTINCT (lon, lat, province, licence)) > 1 LIMIT 1;
    END IF;
    IF wrong IS NULL THEN
        SELECT code || ': of one specimen two values by ' || procedure || ' are told' INTO wrong FROM pg_temp.incoming
        GROUP BY project, code, sampled_on, upper_cm, lower_cm, procedure HAVING count(DISTINCT value) > 1 LIMIT 1;
    END IF;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'sample %', wrong USING ERRCODE = 'PH002';
    END IF;
    INSERT INTO plot AS p (project, code, province, licence, place)
        SELECT DISTINCT project, code, province, licence, ST_SetSRID(ST_MakePoint(lon, lat), 4326)
        FROM pg_temp.incoming ON CONFLICT (project, code) DO UPDATE
        SET province = excluded.province, licence = excluded.licence, place = excluded.place
        WHERE (p.province, p.licence, p.place::bytea) <> (excluded.province, excluded.licence, excluded.place::bytea);
    INSERT INTO specimen (plot_id, sampled_on, upper_cm, lower_cm)
        SELECT DISTINCT p.id, i.sampled_on, i.upper_cm, i.lower_cm
        FROM pg_temp.incoming i JOIN plot p USING (project, code) ON CONFLICT DO NOTHING;
    INSERT INTO result AS r
        SELECT DISTINCT s.id, i.procedure, i.value
        FROM pg_temp.incoming i JOIN plot p USING (project, code)
        JOIN specimen s ON (s.plot_id, s.sampled_on, s.upper_cm, s.lower_cm) = (p.id, i.sampled_on, i.upper_cm, i.lower_cm)
        ON CONFLICT (specimen_id, procedure) DO UPDATE SET value = excluded.value WHERE r.value <> excluded.value;
    INSERT INTO sample_seal AS k SELECT p.id, seal_of(p) FROM plot p
        WHERE (project, code) IN (SELECT project, code FROM pg_temp.incoming)
        ON CONFLICT (plot_id) DO UPDATE SET seal = excluded.seal WHERE k.seal <> excluded.seal;
    PERFORM note_samples(NULL);
    SELECT count(*) INTO number FROM pg_temp.incoming;
    DROP TABLE pg_temp.incoming;
    RETURN number;
END $$;

-- --- what is official already -------------------------------------------------------------------

SELECT phusa.list_season(region, season) FROM (
    SELECT DISTINCT region, season FROM phusa.release WHERE state IN ('official', 'superseded')) r;

SELECT phusa.seal_samples('sealed when the database learnt to') WHERE EXISTS (SELECT FROM phusa.plot);
