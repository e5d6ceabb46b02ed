//! Upgrades with steps that no version has, which are reached only from inside.

use super::audit::normalised;
use super::file::copy::keep_version;
use super::schema::{Upgrade, VERSION, check, prepare, upgrade};
use rusqlite::Connection;
use std::path::Path;

#[test]
fn upgraded_file_has_schema_of_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let schema = |file: &Path| {
        let conn = Connection::open(file).unwrap();
        let mut rows = conn.prepare("SELECT type, name, sql FROM sqlite_schema ORDER BY 1, 2").unwrap();
        let sql = |text: Option<String>| text.map(|text| normalised(&text));
        let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?, sql(row.get(2)?)))).unwrap();
        rows.collect::<Result<Vec<(String, String, Option<String>)>, _>>().unwrap()
    };
    let kept = folder.path().join("kept.db");
    std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/kept/version-1.db"), &kept).unwrap();
    prepare(&mut Connection::open(&kept).unwrap(), |_| Ok(())).unwrap();
    assert_eq!(schema(&kept), schema(&new_file(folder.path())));
}

fn new_file(folder: &Path) -> std::path::PathBuf {
    let file = folder.join("cashbox.db");
    prepare(&mut Connection::open(&file).unwrap(), |_| Ok(())).unwrap();
    file
}

fn step(sql: &'static str) -> Upgrade {
    Upgrade { sql, made: &[], changed: "" }
}

fn version(file: &Path) -> i32 {
    check(&Connection::open(file).unwrap()).unwrap()
}

#[test]
fn upgrade_takes_every_step_and_keeps_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = new_file(folder.path());
    let steps = [
        step("CREATE TABLE second (a); INSERT INTO second VALUES (2)"),
        step("CREATE TABLE third AS SELECT a + 1 AS a FROM second"),
    ];
    let mut conn = Connection::open(&file).unwrap();
    keep_version(&file, VERSION).unwrap();
    upgrade(&mut conn, VERSION, &steps).unwrap();
    assert_eq!(conn.query_row("SELECT a FROM third", [], |row| row.get::<_, i64>(0)).unwrap(), 3);
    assert_eq!(conn.pragma_query_value(None, "user_version", |row| row.get::<_, i32>(0)).unwrap(), VERSION + 2);
    assert!(check(&conn).unwrap_err().to_string().contains("newer cashbox"), "this program does not know it");
    assert_eq!(version(&folder.path().join(format!("cashbox.db.version-{VERSION}"))), VERSION);
}

#[test]
fn upgrade_with_failing_step_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = new_file(folder.path());
    let mut conn = Connection::open(&file).unwrap();
    upgrade(&mut conn, VERSION, &[step("CREATE TABLE second (a)"), step("INSERT INTO nothing VALUES (1)")])
        .unwrap_err();
    let tables = "SELECT count(*) FROM sqlite_schema WHERE name = 'second'";
    assert_eq!(conn.query_row(tables, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
    assert_eq!(version(&file), VERSION);
}
