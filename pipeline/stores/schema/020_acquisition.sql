-- What a reader of a release wants to know of its images: what was seen of those that were not used, and how
-- satellites of one orbit differ.

CREATE OR REPLACE VIEW phusa.ledger AS
    SELECT r.region, r.season, r.release, l.*
    FROM phusa.release r
    JOIN phusa.document d ON d.release_id = r.id,
    json_to_recordset(d.content::json) AS l(
        tile text, sensor text, scene text, platform text, orbit text, date date, band text, state text,
        reason text, blocks int, share float8, detail text)
    WHERE d.name = 'LEDGER' AND r.state = 'official';

CREATE VIEW phusa.radar_step AS
    SELECT r.region, r.season, r.release, s.*
    FROM phusa.release r
    JOIN phusa.document d ON d.release_id = r.id,
    jsonb_to_recordset(coalesce(d.content::jsonb -> 'radar_steps', '[]')) AS s(
        orbit text, band text, first text, second text, windows int, step_db float8, p float8, matters boolean)
    WHERE d.name = 'RUN' AND r.state = 'official';

COMMENT ON VIEW phusa.radar_step IS
    'Chênh lệch giữa các vệ tinh Sentinel-1 cùng quỹ đạo | Steps between Sentinel-1 satellites of one orbit';

DO $$
DECLARE
    known record;
BEGIN
    FOR known IN SELECT * FROM (VALUES
        ('ledger', 'detail', 'Điều đã thấy ở một trong các khối | What was seen in one of the blocks'),
        ('radar_step', 'region', 'Vùng lập bản đồ | Region that is mapped'),
        ('radar_step', 'season', 'Mùa | Season'),
        ('radar_step', 'release', 'Mã công bố: SHA-256 rút gọn của nội dung | Release: short digest of its content'),
        ('radar_step', 'orbit', 'Quỹ đạo tương đối | Relative orbit'),
        ('radar_step', 'band', 'Kênh ảnh | Band of the image'),
        ('radar_step', 'first', 'Vệ tinh và phiên bản xử lý được so sánh | Satellite and processor that is compared with'),
        ('radar_step', 'second', 'Vệ tinh và phiên bản xử lý kia | The other satellite and processor'),
        ('radar_step', 'windows', 'Số cửa sổ so sánh được; dưới 6 thì không kết luận | Windows that could be compared; below 6 nothing is said'),
        ('radar_step', 'step_db', 'Chênh lệch trung vị, dB; trống nếu không kết luận | Median difference, dB; empty where nothing is said'),
        ('radar_step', 'p', 'Giá trị p của giả thuyết không chênh lệch | p of no difference'),
        ('radar_step', 'matters', 'Đúng nếu từ 0,2 dB và p dưới 0,05 | True from 0.2 dB and p below 0.05')
    ) AS t(relation, name, meaning) LOOP
        EXECUTE format('COMMENT ON COLUMN phusa.%I.%I IS %L', known.relation, known.name, known.meaning);
    END LOOP;
END $$;
