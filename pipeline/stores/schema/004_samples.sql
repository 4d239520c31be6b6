-- Soil samples in the terms of ISO 28258 (project, plot, specimen, observation, result) with GloSIS codes;
-- runs and their ledger. Results are public; where a plot is, is not, unless its licence or a right says so.

CREATE TABLE phusa.licence (
    name        text PRIMARY KEY,
    coordinates text NOT NULL CHECK (coordinates IN ('exact', 'blurred', 'hidden')),
    description text NOT NULL
);
INSERT INTO phusa.licence VALUES
    ('open', 'exact', 'Công khai, cả toạ độ. Public, coordinates too.'),
    ('restricted', 'blurred', 'Toạ độ làm mờ theo ô 0,1 độ. Coordinates blurred to cells of 0.1 degrees.'),
    ('confidential', 'hidden', 'Không công bố toạ độ. Coordinates are not shown.');

-- Who may see exact places in a province ('*': in all), whatever the licence.
CREATE TABLE phusa.province_right (
    person   text NOT NULL,
    province text NOT NULL,
    PRIMARY KEY (person, province)
);

CREATE TABLE phusa.observation (  -- ISO 28258: a property by a procedure in a unit
    procedure text PRIMARY KEY,       -- GloSIS code
    property  text NOT NULL,          -- GloSIS code
    unit      text NOT NULL,
    lowest    double precision NOT NULL,
    highest   double precision NOT NULL
);
INSERT INTO phusa.observation VALUES
    ('ECe_sat', 'Eleccond', 'dS/m', 0, 250),
    ('EC_ratio1-1', 'Eleccond', 'dS/m', 0, 250),
    ('EC_ratio1-2', 'Eleccond', 'dS/m', 0, 250),
    ('EC_ratio1-2.5', 'Eleccond', 'dS/m', 0, 250),
    ('EC_ratio1-5', 'Eleccond', 'dS/m', 0, 250),
    ('EC_ratio1-10', 'Eleccond', 'dS/m', 0, 250),
    ('pHH2O_ratio1-2.5', 'pH', 'pH', 0, 14),
    ('pHKCl_ratio1-2.5', 'pH', 'pH', 0, 14),
    ('OrgC_wc-cro3-tiurin', 'Carorg', 'g/kg', 0, 1000),
    ('OrgC_wc-cro3-walkleyblack', 'Carorg', 'g/kg', 0, 1000),
    ('CEC_ph7-nh4oac', 'CEC', 'cmol/kg', 0, 1000);

CREATE TABLE phusa.plot (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project  text NOT NULL,
    code     text NOT NULL,
    province text NOT NULL,
    licence  text NOT NULL REFERENCES phusa.licence,
    place    geometry(Point, 4326) NOT NULL,
    UNIQUE (project, code)
);
CREATE INDEX plot_place ON phusa.plot USING gist (place);

CREATE TABLE phusa.specimen (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    plot_id    bigint NOT NULL REFERENCES phusa.plot,
    sampled_on date NOT NULL,
    upper_cm   double precision NOT NULL CHECK (upper_cm >= 0),
    lower_cm   double precision NOT NULL CHECK (lower_cm > upper_cm),
    UNIQUE (plot_id, sampled_on, upper_cm, lower_cm)
);

CREATE TABLE phusa.result (
    specimen_id bigint NOT NULL REFERENCES phusa.specimen,
    procedure   text NOT NULL REFERENCES phusa.observation,
    value       double precision NOT NULL,
    PRIMARY KEY (specimen_id, procedure)
);

-- Whether the person of this session may know where a plot is.
CREATE FUNCTION phusa.may_locate(of_licence text, in_province text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, phusa, pg_temp AS $$
    SELECT (SELECT coordinates = 'exact' FROM licence WHERE name = of_licence)
        OR pg_has_role(session_user, 'phusa_owner', 'MEMBER')
        OR EXISTS (SELECT FROM province_right WHERE person = session_user AND province IN (in_province, '*'))
$$;

ALTER TABLE phusa.plot ENABLE ROW LEVEL SECURITY;
CREATE POLICY located ON phusa.plot FOR SELECT USING (phusa.may_locate(licence, province));

-- Every result with its place as this person may know it; NULL where it is hidden.
CREATE VIEW phusa.sample WITH (security_barrier) AS
    SELECT p.project, p.code, p.province, p.licence,
           CASE WHEN phusa.may_locate(p.licence, p.province) THEN p.place
                WHEN l.coordinates = 'blurred' THEN ST_SetSRID(ST_MakePoint(
                    floor(ST_X(p.place) * 10) / 10 + 0.05, floor(ST_Y(p.place) * 10) / 10 + 0.05), 4326)
           END AS place,
           CASE WHEN phusa.may_locate(p.licence, p.province) THEN 'exact' ELSE l.coordinates END AS coordinates,
           s.sampled_on, s.upper_cm, s.lower_cm, o.property, r.procedure, r.value, o.unit
    FROM phusa.plot p
    JOIN phusa.licence l ON l.name = p.licence
    JOIN phusa.specimen s ON s.plot_id = p.id
    JOIN phusa.result r ON r.specimen_id = s.id
    JOIN phusa.observation o ON o.procedure = r.procedure;

-- For everyone; a group of fewer than five tells its size only.
CREATE VIEW phusa.sample_statistics WITH (security_barrier) AS
    SELECT province, property, procedure, unit, n,
           CASE WHEN n >= 5 THEN mean END AS mean,
           CASE WHEN n >= 5 THEN deciles[1] END AS p10,
           CASE WHEN n >= 5 THEN deciles[2] END AS p50,
           CASE WHEN n >= 5 THEN deciles[3] END AS p90
    FROM (SELECT p.province, o.property, r.procedure, o.unit, count(*) AS n, avg(r.value) AS mean,
                 percentile_cont(ARRAY[0.1, 0.5, 0.9]) WITHIN GROUP (ORDER BY r.value) AS deciles
          FROM phusa.plot p JOIN phusa.specimen s ON s.plot_id = p.id JOIN phusa.result r ON r.specimen_id = s.id
          JOIN phusa.observation o ON o.procedure = r.procedure
          GROUP BY 1, 2, 3, 4) g;

-- Rows of project, code, lon, lat, province, licence, sampled_on, upper_cm, lower_cm, procedure, value.
-- A row that is there already takes the new value. Returns the number of rows.
CREATE FUNCTION phusa.import_samples(samples jsonb) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, phusa, public, pg_temp AS $$
DECLARE
    wrong text;
    number bigint;
BEGIN
    CREATE TEMP TABLE incoming ON COMMIT DROP AS SELECT * FROM jsonb_to_recordset(samples) AS x(
        project text, code text, lon float8, lat float8, province text, licence text, sampled_on date,
        upper_cm float8, lower_cm float8, procedure text, value float8);
    SELECT code || ': ' || CASE
        WHEN o.procedure IS NULL THEN 'procedure ' || coalesce(i.procedure, '?') || ' is not known'
        WHEN l.name IS NULL THEN 'licence ' || coalesce(i.licence, '?') || ' is not known'
        ELSE i.value || ' ' || o.unit || ' is beyond ' || o.lowest || ' to ' || o.highest END INTO wrong
    FROM pg_temp.incoming i LEFT JOIN observation o USING (procedure) LEFT JOIN licence l ON l.name = i.licence
    WHERE o.procedure IS NULL OR l.name IS NULL OR NOT i.value BETWEEN o.lowest AND o.highest LIMIT 1;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'sample %', wrong USING ERRCODE = 'PH002';
    END IF;
    INSERT INTO plot (project, code, province, licence, place)
        SELECT DISTINCT ON (project, code) project, code, province, licence, ST_SetSRID(ST_MakePoint(lon, lat), 4326)
        FROM pg_temp.incoming ON CONFLICT (project, code) DO UPDATE
        SET province = excluded.province, licence = excluded.licence, place = excluded.place;
    INSERT INTO specimen (plot_id, sampled_on, upper_cm, lower_cm)
        SELECT DISTINCT p.id, i.sampled_on, i.upper_cm, i.lower_cm
        FROM pg_temp.incoming i JOIN plot p USING (project, code) ON CONFLICT DO NOTHING;
    INSERT INTO result
        SELECT DISTINCT ON (s.id, i.procedure) s.id, i.procedure, i.value
        FROM pg_temp.incoming i JOIN plot p USING (project, code)
        JOIN specimen s ON (s.plot_id, s.sampled_on, s.upper_cm, s.lower_cm) = (p.id, i.sampled_on, i.upper_cm, i.lower_cm)
        ON CONFLICT (specimen_id, procedure) DO UPDATE SET value = excluded.value;
    SELECT count(*) INTO number FROM pg_temp.incoming;
    DROP TABLE pg_temp.incoming;
    RETURN number;
END $$;

-- --- runs and ledger: released documents, so sealed as maps are -------------------------------------

CREATE VIEW phusa.run AS
    SELECT r.region, r.season, r.release, r.state, d.content::jsonb ->> 'software' AS software,
           d.content::jsonb ->> 'code' AS code, d.content::jsonb ->> 'inputs' AS inputs,
           d.content::jsonb -> 'products' AS products
    FROM phusa.release r JOIN phusa.document d ON d.release_id = r.id
    WHERE d.name = 'RUN' AND r.state IN ('official', 'superseded');

-- What became of the reads of each image: one row a tile, scene, band and fate.
CREATE VIEW phusa.ledger AS
    SELECT r.region, r.season, r.release, l.*
    FROM phusa.release r
    JOIN phusa.document d ON d.release_id = r.id,
    json_to_recordset(d.content::json) AS l(
        tile text, sensor text, scene text, platform text, orbit text, date date, band text, state text,
        reason text, blocks int, share float8)
    WHERE d.name = 'LEDGER' AND r.state = 'official';
