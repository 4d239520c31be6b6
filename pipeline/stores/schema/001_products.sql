-- Products, their pixels and their releases. Readers use the views; only the program writes.

CREATE TABLE phusa.product (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    region  text NOT NULL,
    season  text NOT NULL,
    tile    text NOT NULL,
    target  text NOT NULL,
    key     text NOT NULL,          -- digest of all inputs
    sha256  text NOT NULL,          -- of the COG
    cog     text NOT NULL,          -- its absolute path
    item    jsonb NOT NULL,         -- its STAC item
    state   text NOT NULL DEFAULT 'draft' CHECK (state IN ('draft', 'published', 'superseded')),
    UNIQUE (region, season, tile, target, key, sha256)
);

-- What readers see is one product for a place, season and target.
CREATE UNIQUE INDEX product_published ON phusa.product (region, season, tile, target)
    WHERE state = 'published';

CREATE TABLE phusa.raster (
    product_id bigint NOT NULL REFERENCES phusa.product ON DELETE CASCADE,
    rast       raster NOT NULL
);
-- The pixels are noise to pglz: compressing them costs four times the time and saves little.
ALTER TABLE phusa.raster ALTER COLUMN rast SET STORAGE EXTERNAL;
CREATE INDEX raster_product ON phusa.raster (product_id);
-- Queries go through the hull; ST_Intersects(rast, geometry) is hundreds of times slower.
CREATE INDEX raster_hull ON phusa.raster USING gist (ST_ConvexHull(rast));

CREATE TABLE phusa.release (
    region       text NOT NULL,
    season       text NOT NULL,
    release      text NOT NULL,
    products     bigint[] NOT NULL,
    published_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (region, season, release, published_at)
);

CREATE VIEW phusa.published AS
    SELECT id, region, season, tile, target, key, sha256, cog, item
    FROM phusa.product WHERE state = 'published';

CREATE VIEW phusa.map AS
    SELECT p.region, p.season, p.tile, p.target, r.rast
    FROM phusa.raster r JOIN phusa.product p ON p.id = r.product_id
    WHERE p.state = 'published';

-- The published value of one layer at a WGS 84 place, in the layer's unit; NULL where nothing is mapped.
CREATE FUNCTION phusa.value(
    in_region text, in_season text, in_target text, layer text, lon double precision, lat double precision
) RETURNS double precision LANGUAGE sql STABLE AS $$
    WITH place AS (SELECT ST_SetSRID(ST_MakePoint(lon, lat), 4326) AS g),
    band AS (
        SELECT p.id, b.ordinality::int AS number, coalesce((b.value ->> 'raster:scale')::float8, 1) AS scale
        FROM phusa.published p,
             jsonb_array_elements(p.item #> '{assets,map,bands}') WITH ORDINALITY b
        WHERE p.region = in_region AND p.season = in_season AND p.target = in_target
          AND b.value ->> 'name' = layer
    )
    SELECT ST_Value(r.rast, band.number, ST_Transform(place.g, ST_SRID(r.rast))) * band.scale
    FROM band JOIN phusa.raster r ON r.product_id = band.id, place
    WHERE ST_ConvexHull(r.rast) && ST_Transform(place.g, ST_SRID(r.rast))
      AND ST_Value(r.rast, band.number, ST_Transform(place.g, ST_SRID(r.rast))) IS NOT NULL
    LIMIT 1
$$;
