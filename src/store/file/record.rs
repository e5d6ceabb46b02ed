//! The ledger as records, which `export` writes and `import` reads: each is a row of the file in the words of the API.
//! One table lists their fields and columns, for both directions.

use crate::clock::{parse_rfc3339, rfc3339};
use crate::id::{CouponCode, UserId, WalletId};
use crate::money::Cents;
use crate::secret::{hex, parse_hash};
use crate::store::options::OpenError;
use crate::tx::StorageFault;
use rusqlite::types::{Value as Stored, ValueRef};
use rusqlite::{Connection, Row, params_from_iter};
use serde_json::{Map, Value, json};

/// The version of the records. A change of their meaning makes it higher.
pub(crate) const VERSION: i64 = 2;

/// A kind of record.
pub struct RecordKind {
    /// Its name, in the field `record`.
    pub name: &'static str,
    /// The plural, which names a table of them.
    pub plural: &'static str,
    table: &'static str,
    /// Its fields, in order; the first one orders the records.
    pub fields: &'static [RecordField],
}

/// One field, and its column.
pub struct RecordField {
    /// Its name.
    pub name: &'static str,
    column: &'static str,
    kind: FieldKind,
    /// True if records of earlier versions do not have it: then it is null.
    is_later: bool,
}

/// The kind of values of a field.
#[derive(Clone, Copy)]
enum FieldKind {
    Text,
    /// Text that is never absent: an empty cell is an empty text.
    Sentence,
    Integer,
    /// Text with two decimals; cents in the file.
    Amount,
    /// RFC 3339; milliseconds in the file.
    Time,
    /// True or false; 1 or 0 in the file.
    Flag,
    /// Hexadecimal; bytes in the file.
    Hash,
    /// A JSON object; its text, unchanged, in the file.
    Object,
    /// A valid id of its kind.
    User,
    Wallet,
    Code,
}

/// The reason why a record was not inserted.
pub(super) enum InsertError {
    /// It is wrong: how.
    Record(String),
    /// The file cannot be written.
    File(OpenError),
}

impl From<String> for InsertError {
    fn from(what: String) -> InsertError {
        InsertError::Record(what)
    }
}

const fn field(name: &'static str, kind: FieldKind) -> RecordField {
    RecordField { name, column: name, kind, is_later: false }
}

const fn in_column(name: &'static str, column: &'static str, kind: FieldKind) -> RecordField {
    RecordField { name, column, kind, is_later: false }
}

const fn later(name: &'static str, kind: FieldKind) -> RecordField {
    RecordField { name, column: name, kind, is_later: true }
}

/// All kinds, in the order in which they can be put into an empty file.
pub(crate) static RECORDS: [RecordKind; 6] = [
    RecordKind {
        name: "coupon_kind",
        plural: "coupon-kinds",
        table: "coupon_kind",
        fields: &[
            field("kind", FieldKind::Text),
            field("amount_off", FieldKind::Amount),
            field("percent_off", FieldKind::Integer),
            field("threshold", FieldKind::Amount),
            field("single_use", FieldKind::Flag),
            field("earned_zh", FieldKind::Sentence),
            field("earned_en", FieldKind::Sentence),
            later("max_off", FieldKind::Amount),
            later("valid_days", FieldKind::Integer),
            later("valid_from", FieldKind::Time),
            later("valid_until", FieldKind::Time),
            later("limit_total", FieldKind::Integer),
            later("limit_per_user", FieldKind::Integer),
            later("claim_code", FieldKind::Text),
        ],
    },
    RecordKind {
        name: "tier",
        plural: "tiers",
        table: "recharge_tier",
        fields: &[in_column("from", "from_amount", FieldKind::Amount), field("coupon_kind", FieldKind::Text)],
    },
    RecordKind {
        name: "wallet",
        plural: "wallets",
        table: "wallet",
        fields: &[
            in_column("user_id", "id", FieldKind::Wallet),
            field("balance", FieldKind::Amount),
            field("entries", FieldKind::Integer),
            field("created_at", FieldKind::Time),
        ],
    },
    RecordKind {
        name: "setting",
        plural: "settings",
        table: "wallet_setting",
        fields: &[
            in_column("user_id", "wallet", FieldKind::User),
            field("name", FieldKind::Text),
            field("status", FieldKind::Text),
            field("metadata", FieldKind::Object),
            field("limit_per_payment", FieldKind::Amount),
            field("limit_per_day", FieldKind::Amount),
        ],
    },
    RecordKind {
        name: "entry",
        plural: "entries",
        table: "entry",
        fields: &[
            field("id", FieldKind::Integer),
            field("at", FieldKind::Time),
            field("kind", FieldKind::Text),
            in_column("from", "from_wallet", FieldKind::Wallet),
            in_column("to", "to_wallet", FieldKind::Wallet),
            field("amount", FieldKind::Amount),
            field("from_balance", FieldKind::Amount),
            field("to_balance", FieldKind::Amount),
            field("coupon", FieldKind::Code),
            field("gross", FieldKind::Amount),
            field("discount", FieldKind::Amount),
            field("refunds", FieldKind::Integer),
            field("reference", FieldKind::Text),
            field("metadata", FieldKind::Object),
            in_column("by", "made_by", FieldKind::Text),
            field("fence", FieldKind::Integer),
            later("hold", FieldKind::Integer),
            later("hold_to", FieldKind::Wallet),
            later("hold_until", FieldKind::Time),
            field("hash", FieldKind::Hash),
        ],
    },
    RecordKind {
        name: "coupon",
        plural: "coupons",
        table: "coupon",
        fields: &[
            field("code", FieldKind::Code),
            in_column("user_id", "user", FieldKind::User),
            field("kind", FieldKind::Text),
            field("amount_off", FieldKind::Amount),
            field("percent_off", FieldKind::Integer),
            field("threshold", FieldKind::Amount),
            field("single_use", FieldKind::Flag),
            field("granted_at", FieldKind::Time),
            field("earned_by", FieldKind::Integer),
            field("uses", FieldKind::Integer),
            field("taken_by", FieldKind::Integer),
            later("max_off", FieldKind::Amount),
            later("expires_at", FieldKind::Time),
        ],
    },
];

/// The kind of that name.
pub(crate) fn find(name: &str) -> Option<&'static RecordKind> {
    RECORDS.iter().find(|record| record.name == name)
}

/// The kind with that plural.
pub(crate) fn find_plural(plural: &str) -> Option<&'static RecordKind> {
    RECORDS.iter().find(|record| record.plural == plural)
}

/// The kind that has exactly these fields, in any order; later ones may be left out.
pub(crate) fn find_by_fields(names: &[String]) -> Option<&'static RecordKind> {
    let count = |field: &RecordField| names.iter().filter(|name| *name == field.name).count();
    RECORDS.iter().find(|record| {
        let counts: Vec<usize> = record.fields.iter().map(count).collect();
        let is_possible = |(field, count): (&RecordField, &usize)| *count == 1 || *count == 0 && field.is_later;
        counts.iter().sum::<usize>() == names.len() && record.fields.iter().zip(&counts).all(is_possible)
    })
}

impl RecordKind {
    /// The names of its fields, in order.
    pub fn names(&self) -> Vec<&'static str> {
        self.fields.iter().map(|field| field.name).collect()
    }

    /// The record of one row of a table: the fields `names`, as text in `cells`.
    pub fn read_cells<'a>(&self, names: &[String], cells: impl Iterator<Item = &'a str>) -> Map<String, Value> {
        let kind = |name: &String| {
            self.fields.iter().find(|field| field.name == *name).map_or(FieldKind::Text, |field| field.kind)
        };
        names.iter().zip(cells).map(|(name, cell)| (name.clone(), kind(name).of_cell(cell))).collect()
    }

    fn columns(&self) -> String {
        self.fields.iter().map(|field| field.column).collect::<Vec<_>>().join(", ")
    }

    /// Passes every record of this kind to `sink`, in order, until it returns false.
    pub(super) fn each(
        &self,
        conn: &Connection,
        sink: &mut dyn FnMut(Map<String, Value>) -> bool,
    ) -> rusqlite::Result<bool> {
        let sql = format!("SELECT {} FROM {} ORDER BY {}", self.columns(), self.table, self.fields[0].column);
        let mut statement = conn.prepare(&sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if !sink(self.read(row)?) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn read(&self, row: &Row<'_>) -> rusqlite::Result<Map<String, Value>> {
        let mut record = Map::from_iter([("record".to_owned(), json!(self.name))]);
        for (column, field) in self.fields.iter().enumerate() {
            record.insert(field.name.to_owned(), field.kind.shown(row.get_ref(column)?)?);
        }
        Ok(record)
    }

    /// Inserts a record into the file.
    pub(super) fn insert(&self, conn: &Connection, record: &Map<String, Value>) -> Result<(), InsertError> {
        let known = |name: &str| name == "record" || self.fields.iter().any(|field| field.name == name);
        if let Some(unknown) = record.keys().find(|name| !known(name)) {
            return Err(format!("a record of kind {} has no field {:?}", self.name, shortened(unknown)).into());
        }
        let values = self.fields.iter().map(|field| {
            let value = record.get(field.name).or_else(|| field.is_later.then_some(&Value::Null));
            let value = value.ok_or_else(|| format!("the field {} is missing", field.name))?;
            field
                .kind
                .stored(value)
                .ok_or_else(|| format!("{} is not a valid {}", shortened(&value.to_string()), field.name))
        });
        let values: Vec<Stored> = values.collect::<Result<_, String>>()?;
        let places: Vec<_> = (1..=values.len()).map(|place| format!("${place}")).collect();
        let sql = format!("INSERT INTO {} ({}) VALUES ({})", self.table, self.columns(), places.join(", "));
        let inserted = conn.prepare_cached(&sql).and_then(|mut insert| insert.execute(params_from_iter(values)));
        match inserted {
            Ok(_) => Ok(()),
            Err(error) if StorageFault::is_it(&error) => Err(InsertError::File(error.into())),
            Err(error) => Err(format!("it cannot be inserted: {error}").into()),
        }
    }
}

/// The most characters of a value that an error repeats.
const SHOWN_CHARS_MAX: usize = 80;

/// The beginning of a text that may be of any length.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

impl FieldKind {
    fn shown(self, stored: ValueRef<'_>) -> rusqlite::Result<Value> {
        Ok(match (self, stored) {
            (_, ValueRef::Null) => Value::Null,
            (FieldKind::Integer, ValueRef::Integer(number)) => json!(number),
            (FieldKind::Amount, ValueRef::Integer(cents)) => json!(Cents(cents).to_string()),
            (FieldKind::Time, ValueRef::Integer(ms)) => json!(rfc3339(ms)),
            (FieldKind::Flag, ValueRef::Integer(flag)) => json!(flag != 0),
            (FieldKind::Hash, ValueRef::Blob(bytes)) => json!(hex(bytes)),
            (FieldKind::Object, text @ ValueRef::Text(_)) => {
                serde_json::from_str(text.as_str()?).unwrap_or(Value::Null)
            }
            (_, text) => json!(text.as_str()?),
        })
    }

    /// The value of a cell; an empty one stands for null.
    fn of_cell(self, cell: &str) -> Value {
        match self {
            FieldKind::Sentence => json!(cell),
            _ if cell.is_empty() => Value::Null,
            FieldKind::Integer | FieldKind::Flag | FieldKind::Object => {
                serde_json::from_str(cell).unwrap_or_else(|_| json!(cell))
            }
            _ => json!(cell),
        }
    }

    fn stored(self, shown: &Value) -> Option<Stored> {
        let name = |valid: bool| shown.as_str().filter(|_| valid).map(|text| Stored::Text(text.to_owned()));
        let text = shown.as_str().unwrap_or_default();
        match self {
            _ if shown.is_null() => Some(Stored::Null),
            FieldKind::Text | FieldKind::Sentence => name(true),
            FieldKind::User => name(UserId::parse(text).is_ok()),
            FieldKind::Wallet => name(WalletId::parse(text).is_ok()),
            FieldKind::Code => name(CouponCode::parse(text).is_ok_and(|code| code.as_str() == text)), // capitals, as it is kept
            FieldKind::Integer => shown.as_i64().map(Stored::Integer),
            FieldKind::Amount => Cents::parse(text).map(|amount| Stored::Integer(amount.0)),
            FieldKind::Time => parse_rfc3339(text).map(Stored::Integer),
            FieldKind::Flag => shown.as_bool().map(|flag| Stored::Integer(flag.into())),
            FieldKind::Hash => parse_hash(text).map(|hash| Stored::Blob(hash.to_vec())),
            FieldKind::Object => shown.as_object().map(|object| Stored::Text(json!(object).to_string())),
        }
    }
}
