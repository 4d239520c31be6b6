-- Views that people and programs ask first, and what every column means: `phusa db dictionary` reads the comments.
-- A comment is Vietnamese, then " | ", then English.

-- The newest official season of each region and target, one row a tile, with the means of its maps.
CREATE VIEW phusa.latest_official AS
    SELECT DISTINCT ON (p.region, p.target, p.tile)
           p.region, p.target, p.tile, p.season, r.season_start, r.season_end, r.release,
           p.item -> 'properties' ->> 'phusa:status' AS status,
           coalesce((p.item -> 'properties' ->> 'phusa:simulated')::boolean, false) AS simulated,
           p.sha256, p.cog,
           (SELECT jsonb_object_agg(b ->> 'name', round(((b #>> '{statistics,mean}')::numeric
                                        * coalesce((b ->> 'raster:scale')::numeric, 1)), 4))
            FROM jsonb_array_elements(p.item #> '{assets,map,bands}') b
            WHERE b #>> '{statistics,mean}' IS NOT NULL) AS means,
           ST_SetSRID(ST_GeomFromGeoJSON(p.item -> 'geometry'), 4326)::geometry(Geometry, 4326) AS geom
    FROM phusa.product p
    JOIN phusa.release_product m ON m.product_id = p.id
    JOIN phusa.release r ON r.id = m.release_id AND r.state = 'official'
    ORDER BY p.region, p.target, p.tile, r.season_end DESC;

-- The same, for targets with a probability of the classes named bad.
CREATE VIEW phusa.latest_official_risk AS
    SELECT region, target, tile, season, season_start, season_end, status, simulated,
           (means ->> 'risk')::float8 AS mean_risk, cog, geom
    FROM phusa.latest_official WHERE means ? 'risk';

-- Areas of farmland beyond a threshold, of units in their newest official season.
CREATE VIEW phusa.exceedance_on_farmland AS
    SELECT a.region, a.target, a.level, a.code, a.name, a.season, a.indicator, a.land_m2, a.mapped_m2,
           a.expected_m2, a.lower_m2, a.upper_m2,
           100.0 * a.expected_m2 / nullif(a.mapped_m2, 0) AS expected_percent, a.unknown_percent,
           a.mask_version, a.note
    FROM phusa.area a
    WHERE a.expected_m2 IS NOT NULL AND a.season_start = (
        SELECT max(b.season_start) FROM phusa.area b WHERE (b.region, b.target) = (a.region, a.target));

CREATE VIEW phusa.samples_by_method WITH (security_barrier) AS
    SELECT property, procedure, unit, sum(n)::bigint AS samples, count(*) AS provinces
    FROM phusa.sample_statistics GROUP BY property, procedure, unit;
