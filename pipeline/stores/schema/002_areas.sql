-- Areas by administrative unit, published with the products they were counted from.

CREATE TABLE phusa.area (
    region          text NOT NULL,
    season          text NOT NULL,
    season_start    date NOT NULL,
    release         text NOT NULL,
    target          text NOT NULL,
    units_of        date NOT NULL,        -- the day on which the units hold
    mask_version    text NOT NULL,        -- of the farmland mask, '' where there is none
    level           text NOT NULL,        -- commune, province, region, unassigned, nation
    code            text NOT NULL,
    name            text NOT NULL,
    indicator       text NOT NULL,
    land_m2         bigint NOT NULL,
    mapped_m2       bigint NOT NULL,
    unknown_m2      bigint NOT NULL,
    unknown_percent double precision,
    map_m2          bigint NOT NULL,      -- counted cells
    expected_m2     bigint,               -- area x probability; NULL where the products have none
    lower_m2        bigint,               -- 95 % interval of the true area
    upper_m2        bigint,
    note            text NOT NULL,        -- SIMULATED, unverified classes, how the interval was made
    PRIMARY KEY (region, season, target, level, code, indicator)
);

-- Each unit's figure, that of the season before, and the change. The errors of two seasons are taken as
-- independent; they rather go together, so the interval is too wide before it is too narrow.
CREATE VIEW phusa.area_change AS
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

-- The newest season of each unit beside the one before.
CREATE VIEW phusa.area_now AS
    SELECT DISTINCT ON (c.region, c.target, c.level, c.code, c.indicator) c.*
    FROM phusa.area_change c JOIN phusa.area a USING (region, target, level, code, indicator, season)
    ORDER BY c.region, c.target, c.level, c.code, c.indicator, a.season_start DESC;
