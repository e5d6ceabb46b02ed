//! Access tokens: who a caller is and what that caller may do. Only hashes of secrets are stored.
//!
//! Knows nothing of: money, HTTP.

use crate::error::{Error, ErrorName};
use crate::id::UserId;
use crate::secret::{self, Hash};
use crate::tx::{ReadTx, Row, RowResult, WriteTx, params, unreadable};

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// See and move one wallet: the bound user's.
    User,
    /// Read everything, change nothing.
    Auditor,
    /// Move every wallet, grant, refund, any lock.
    Teller,
    /// Everything.
    Admin,
}

impl Role {
    const ALL: [Role; 4] = [Role::User, Role::Auditor, Role::Teller, Role::Admin];

    /// The role as text.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::User => "user",
            Role::Auditor => "auditor",
            Role::Teller => "teller",
            Role::Admin => "admin",
        }
    }

    /// The role of that name.
    pub fn parse(text: &str) -> Result<Role, Error> {
        let role = Role::ALL.into_iter().find(|role| role.as_str() == text);
        role.ok_or_else(|| Error::invalid("a role is one of user, teller, auditor, admin"))
    }
}

/// What every access token begins with.
pub const PREFIX: &str = "cbx_";

/// An access token as it is listed: everything but its secret.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessToken {
    /// Its id: what lists and entries call it.
    pub id: String,
    /// What it allows.
    pub role: Role,
    /// Whose wallet, for the role `user`.
    pub user: Option<UserId>,
    /// A note for people.
    pub note: Option<String>,
    /// When it was minted, in milliseconds since 1970.
    pub created_at: i64,
    /// From when on it is no good.
    pub expires_at: Option<i64>,
    /// When it was revoked.
    pub revoked_at: Option<i64>,
}

impl AccessToken {
    /// Whether it still opens anything at that wall time.
    pub fn is_usable(&self, wall_ms: i64) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| wall_ms < end)
    }

    fn read(row: &Row<'_>) -> RowResult<AccessToken> {
        let role: String = row.get(1)?;
        Ok(AccessToken {
            id: row.get(0)?,
            role: Role::parse(&role).map_err(|_| unreadable(1))?,
            user: row.get(2)?,
            note: row.get(3)?,
            created_at: row.get(4)?,
            expires_at: row.get(5)?,
            revoked_at: row.get(6)?,
        })
    }
}

/// What to mint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewToken {
    /// What it shall allow.
    pub role: Role,
    /// Whose wallet: for the role `user`, and only for it.
    pub user: Option<UserId>,
    /// How long it shall be good, in seconds.
    pub expires_in_s: Option<i64>,
    /// A note for people.
    pub note: Option<String>,
}

/// A new access token, with the one sight of its secret there is.
#[derive(Clone, PartialEq)]
pub struct MintedToken {
    /// What is listed.
    pub token: AccessToken,
    /// The secret: `cbx_…`.
    pub secret: String,
}

/// The secret is shown once, to its owner, and never by debugging.
impl std::fmt::Debug for MintedToken {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "MintedToken({})", self.token.id)
    }
}

/// The hash under which a secret is stored.
pub fn hash(secret: &str) -> Hash {
    secret::sha256(secret.as_bytes())
}

/// A secret nobody can guess.
pub fn new_secret() -> String {
    format!("{PREFIX}{}", secret::random_hex::<24>())
}

/// Whether the text could be a secret: `cbx_` and 16 to 128 characters of `A-Z a-z 0-9 _ -`.
pub fn is_secret(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    text.strip_prefix(PREFIX).is_some_and(|rest| (16..=128).contains(&rest.len()) && rest.bytes().all(plain))
}

macro_rules! token_columns {
    () => {
        "id, role, user, note, created_at, expires_at, revoked_at"
    };
}

/// Mints an access token with that secret.
pub fn mint(tx: &WriteTx<'_>, wanted: &NewToken, secret: String) -> Result<MintedToken, Error> {
    let token = new(wanted, tx.now().wall_ms);
    insert(tx, &token, &hash(&secret))?;
    Ok(MintedToken { token, secret })
}

/// Takes the secret with that hash, which the operator chose, as an admin's. Taking it again changes nothing.
pub fn adopt(tx: &WriteTx<'_>, secret_hash: &Hash) -> Result<AccessToken, Error> {
    if let Some(token) = find(tx, secret_hash)? {
        return Ok(token);
    }
    let wanted =
        NewToken { role: Role::Admin, user: None, expires_in_s: None, note: Some("given at start".to_owned()) };
    let token = new(&wanted, tx.now().wall_ms);
    insert(tx, &token, secret_hash)?;
    Ok(token)
}

fn new(wanted: &NewToken, now: i64) -> AccessToken {
    AccessToken {
        id: format!("tok:{}", secret::random_hex::<8>()), // no user can be called so
        role: wanted.role,
        user: wanted.user.clone(),
        note: wanted.note.clone(),
        created_at: now,
        expires_at: wanted.expires_in_s.map(|seconds| now.saturating_add(seconds.saturating_mul(1_000))),
        revoked_at: None,
    }
}

fn insert(tx: &WriteTx<'_>, token: &AccessToken, secret_hash: &Hash) -> Result<(), Error> {
    tx.execute_one(
        "INSERT INTO access_token (id, secret_hash, role, user, note, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        params![token.id, secret_hash, token.role.as_str(), token.user, token.note, token.created_at, token.expires_at],
    )
}

/// Revokes the token of that id, once and for all. Revoking again changes nothing.
pub fn revoke(tx: &WriteTx<'_>, id: &str) -> Result<AccessToken, Error> {
    tx.execute(
        "UPDATE access_token SET revoked_at = $1 WHERE id = $2 AND revoked_at IS NULL",
        params![tx.now().wall_ms, id],
    )?;
    get(tx, id)
}

/// The access token of that id.
pub fn get(tx: &ReadTx<'_>, id: &str) -> Result<AccessToken, Error> {
    let sql = concat!("SELECT ", token_columns!(), " FROM access_token WHERE id = $1");
    tx.one(sql, params![id], AccessToken::read)?
        .ok_or_else(|| Error::new(ErrorName::TokenNotFound, format!("there is no access token {id}")))
}

/// The access token with that secret's hash, usable or not.
pub fn find(tx: &ReadTx<'_>, secret_hash: &Hash) -> Result<Option<AccessToken>, Error> {
    let sql = concat!("SELECT ", token_columns!(), " FROM access_token WHERE secret_hash = $1");
    tx.one(sql, params![secret_hash], AccessToken::read)
}

/// Access tokens in the order of their ids, after `after`.
pub fn list(tx: &ReadTx<'_>, after: &str, limit: usize) -> Result<Vec<AccessToken>, Error> {
    let sql = concat!("SELECT ", token_columns!(), " FROM access_token WHERE id > $1 ORDER BY id LIMIT $2");
    tx.all(sql, params![after, limit], AccessToken::read)
}

/// Whether some admin's access token can be used at that wall time.
pub fn has_usable_admin(tx: &ReadTx<'_>, wall_ms: i64) -> Result<bool, Error> {
    let sql = "SELECT 1 FROM access_token WHERE role = 'admin' AND revoked_at IS NULL \
               AND (expires_at IS NULL OR expires_at > $1) LIMIT 1";
    Ok(tx.one(sql, params![wall_ms], |_| Ok(()))?.is_some())
}
