//! The ledger as records: what `export` writes and `import` reads, each a row of the file in the words of the API.
//! One table says which columns they are made of; both directions are made from it.

use crate::clock::{parse_rfc3339, rfc3339};
use crate::id::{CouponCode, UserId, WalletId};
use crate::money::Cents;
use crate::secret::{hex, parse_hash};
use crate::tx::Row;
use rusqlite::types::{Value as Stored, ValueRef};
use rusqlite::{Connection, params_from_iter};
use serde_json::{Map, Value, json};

/// The version of the records. Whoever changes their meaning counts it up.
pub const VERSION: i64 = 1;

/// A kind of record.
pub struct RecordKind {
    /// Its name, in the field `record`.
    pub name: &'static str,
    /// What many of them are called, as a file of their own.
    pub plural: &'static str,
    table: &'static str,
    /// Its fields, in order; the first one orders the records.
    pub fields: &'static [RecordField],
}

/// One field, and the column it is kept in.
pub struct RecordField {
    /// Its name.
    pub name: &'static str,
    column: &'static str,
    is: FieldType,
}

/// What a field holds.
#[derive(Clone, Copy)]
enum FieldType {
    Text,
    /// Text that is never absent, so that none is an empty one.
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
    /// A name by the rules of its kind.
    User,
    Wallet,
    Code,
}

const fn field(name: &'static str, is: FieldType) -> RecordField {
    RecordField { name, column: name, is }
}

const fn in_column(name: &'static str, column: &'static str, is: FieldType) -> RecordField {
    RecordField { name, column, is }
}

/// All kinds, in the order in which they can be put into an empty file.
pub static RECORDS: [RecordKind; 5] = [
    RecordKind {
        name: "coupon_kind",
        plural: "coupon-kinds",
        table: "coupon_kind",
        fields: &[
            field("kind", FieldType::Text),
            field("amount_off", FieldType::Amount),
            field("percent_off", FieldType::Integer),
            field("threshold", FieldType::Amount),
            field("single_use", FieldType::Flag),
            field("earned_zh", FieldType::Sentence),
            field("earned_en", FieldType::Sentence),
        ],
    },
    RecordKind {
        name: "tier",
        plural: "tiers",
        table: "recharge_tier",
        fields: &[in_column("from", "from_amount", FieldType::Amount), field("coupon_kind", FieldType::Text)],
    },
    RecordKind {
        name: "wallet",
        plural: "wallets",
        table: "wallet",
        fields: &[
            in_column("user_id", "id", FieldType::Wallet),
            field("balance", FieldType::Amount),
            field("entries", FieldType::Integer),
            field("created_at", FieldType::Time),
        ],
    },
    RecordKind {
        name: "entry",
        plural: "entries",
        table: "entry",
        fields: &[
            field("id", FieldType::Integer),
            field("at", FieldType::Time),
            field("kind", FieldType::Text),
            in_column("from", "from_wallet", FieldType::Wallet),
            in_column("to", "to_wallet", FieldType::Wallet),
            field("amount", FieldType::Amount),
            field("from_balance", FieldType::Amount),
            field("to_balance", FieldType::Amount),
            field("coupon", FieldType::Code),
            field("gross", FieldType::Amount),
            field("discount", FieldType::Amount),
            field("refunds", FieldType::Integer),
            field("reference", FieldType::Text),
            field("metadata", FieldType::Object),
            in_column("by", "made_by", FieldType::Text),
            field("fence", FieldType::Integer),
            field("hash", FieldType::Hash),
        ],
    },
    RecordKind {
        name: "coupon",
        plural: "coupons",
        table: "coupon",
        fields: &[
            field("code", FieldType::Code),
            in_column("user_id", "user", FieldType::User),
            field("kind", FieldType::Text),
            field("amount_off", FieldType::Amount),
            field("percent_off", FieldType::Integer),
            field("threshold", FieldType::Amount),
            field("single_use", FieldType::Flag),
            field("granted_at", FieldType::Time),
            field("earned_by", FieldType::Integer),
            field("uses", FieldType::Integer),
            field("taken_by", FieldType::Integer),
        ],
    },
];

/// The kind of that name.
pub fn find(name: &str) -> Option<&'static RecordKind> {
    RECORDS.iter().find(|record| record.name == name)
}

/// The kind of which many are called so.
pub fn find_plural(plural: &str) -> Option<&'static RecordKind> {
    RECORDS.iter().find(|record| record.plural == plural)
}

/// The kind that has these fields and no others, in whatever order.
pub fn find_by_fields(names: &[String]) -> Option<&'static RecordKind> {
    let has = |record: &RecordKind, name: &String| record.fields.iter().any(|field| field.name == name);
    RECORDS.iter().find(|record| record.fields.len() == names.len() && names.iter().all(|name| has(record, name)))
}

impl RecordKind {
    /// The names of its fields, in order.
    pub fn names(&self) -> Vec<&'static str> {
        self.fields.iter().map(|field| field.name).collect()
    }

    /// A record whose fields, named `names`, stand as text in `cells`: one line of a table.
    pub fn from_cells(&self, names: &[String], cells: &csv::StringRecord) -> Map<String, Value> {
        let is = |name: &String| {
            self.fields.iter().find(|field| field.name == *name).map_or(FieldType::Text, |field| field.is)
        };
        names.iter().zip(cells).map(|(name, cell)| (name.clone(), is(name).of_cell(cell))).collect()
    }

    fn columns(&self) -> String {
        self.fields.iter().map(|field| field.column).collect::<Vec<_>>().join(", ")
    }

    /// Every record of this kind to `sink`, in order, until that says no more is wanted.
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
            record.insert(field.name.to_owned(), field.is.shown(row.get_ref(column)?)?);
        }
        Ok(record)
    }

    /// Puts a record into the file; or says what is wrong with it.
    pub(super) fn insert(&self, conn: &Connection, record: &Map<String, Value>) -> Result<(), String> {
        let known = |name: &str| name == "record" || self.fields.iter().any(|field| field.name == name);
        if let Some(stranger) = record.keys().find(|name| !known(name)) {
            return Err(format!("a record of kind {} has no field {stranger:?}", self.name));
        }
        let values = self.fields.iter().map(|field| {
            let value = record.get(field.name).ok_or_else(|| format!("the field {} is missing", field.name))?;
            field.is.stored(value).ok_or_else(|| format!("{value} is no {}", field.name))
        });
        let values: Vec<Stored> = values.collect::<Result<_, String>>()?;
        let places: Vec<_> = (1..=values.len()).map(|place| format!("${place}")).collect();
        let sql = format!("INSERT INTO {} ({}) VALUES ({})", self.table, self.columns(), places.join(", "));
        let inserted = conn.prepare_cached(&sql).and_then(|mut insert| insert.execute(params_from_iter(values)));
        inserted.map(|_| ()).map_err(|error| format!("it cannot stand here: {error}"))
    }
}

impl FieldType {
    fn shown(self, stored: ValueRef<'_>) -> rusqlite::Result<Value> {
        Ok(match (self, stored) {
            (_, ValueRef::Null) => Value::Null,
            (FieldType::Integer, ValueRef::Integer(number)) => json!(number),
            (FieldType::Amount, ValueRef::Integer(cents)) => json!(Cents(cents).to_string()),
            (FieldType::Time, ValueRef::Integer(ms)) => json!(rfc3339(ms)),
            (FieldType::Flag, ValueRef::Integer(flag)) => json!(flag != 0),
            (FieldType::Hash, ValueRef::Blob(bytes)) => json!(hex(bytes)),
            (FieldType::Object, text @ ValueRef::Text(_)) => {
                serde_json::from_str(text.as_str()?).unwrap_or(Value::Null)
            }
            (_, text) => json!(text.as_str()?),
        })
    }

    /// The value that a cell of a table shows; an empty one shows that there is none.
    fn of_cell(self, cell: &str) -> Value {
        match self {
            FieldType::Sentence => json!(cell),
            _ if cell.is_empty() => Value::Null,
            FieldType::Integer | FieldType::Flag | FieldType::Object => {
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
            FieldType::Text | FieldType::Sentence => name(true),
            FieldType::User => name(UserId::parse(text).is_ok()),
            FieldType::Wallet => name(WalletId::parse(text).is_ok()),
            FieldType::Code => name(CouponCode::parse(text).is_ok_and(|code| code.as_str() == text)), // capitals, as it is kept
            FieldType::Integer => shown.as_i64().map(Stored::Integer),
            FieldType::Amount => Cents::parse(text).map(|amount| Stored::Integer(amount.0)),
            FieldType::Time => parse_rfc3339(text).map(Stored::Integer),
            FieldType::Flag => shown.as_bool().map(|flag| Stored::Integer(flag.into())),
            FieldType::Hash => parse_hash(text).map(|hash| Stored::Blob(hash.to_vec())),
            FieldType::Object => shown.as_object().map(|object| Stored::Text(json!(object).to_string())),
        }
    }
}
