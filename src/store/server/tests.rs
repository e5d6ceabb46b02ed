//! Addresses of databases.

use super::address::ServerAddress;
use std::path::Path;

#[test]
fn url_is_never_shown_with_its_password() {
    for url in [
        "postgres://me:s3cret@host/ledger",
        "postgres://me@host/ledger?password=s3cret",
        "postgres://me:s3cret@host",
        "postgres://me:s3cret@/ledger",
        "postgres://me:s3cret@host:port/ledger",
        "postgres://me:s3cret@host/ledger?sslmode=s3cret",
        "postgresql://me:s3cret@host/ledger?s3cret",
        "postgres://me:%s3cret@host/ledger",
    ] {
        let text = match ServerAddress::of(Path::new(url)).unwrap() {
            Ok(address) => address.name().to_owned(),
            Err(error) => error.to_string(),
        };
        assert!(!text.contains("s3cret") && !text.is_empty(), "{text}");
    }
}

#[test]
fn file_is_not_taken_for_an_address() {
    for file in ["cashbox.db", "postgres", "./postgres:/x", "http://host/ledger"] {
        assert!(ServerAddress::of(Path::new(file)).is_none(), "{file}");
    }
    let address = ServerAddress::of(Path::new("postgres://me@a,b:5433/ledger")).unwrap().unwrap();
    assert_eq!(address.name(), "database ledger at a,b");
}
