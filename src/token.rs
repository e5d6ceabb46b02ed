//! Access tokens: the identity and the role of a caller. Only hashes of secrets are stored.
//!
//! Knows nothing of: money, HTTP.

use crate::clock::rfc3339;
use crate::error::{Error, ErrorName};
use crate::id::{LockId, UserId, is_hidden};
use crate::secret::{self, Hash, hex, sha256};
use crate::tx::{Row, RowResult, Tables, WriteTx, params, unreadable};
use serde_json::{Value, json};

/// The rights of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// See and move one wallet: the bound user's.
    User,
    /// Take locks that belong to no wallet: all of them, or those under a prefix. Nothing else, and read nothing else.
    Locker,
    /// Read everything, change nothing.
    Auditor,
    /// Move every wallet, grant, refund, any lock.
    Teller,
    /// Everything.
    Admin,
}

impl Role {
    pub(crate) const ALL: [Role; 5] = [Role::User, Role::Locker, Role::Auditor, Role::Teller, Role::Admin];

    /// The role as text.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::User => "user",
            Role::Locker => "locker",
            Role::Auditor => "auditor",
            Role::Teller => "teller",
            Role::Admin => "admin",
        }
    }

    /// The role of that name.
    pub fn parse(text: &str) -> Result<Role, Error> {
        let role = Role::ALL.into_iter().find(|role| role.as_str() == text);
        role.ok_or_else(|| Error::invalid("a role is one of user, locker, teller, auditor, admin"))
    }
}

/// The beginning of every access token.
pub(crate) const PREFIX: &str = "cbx_";

/// An access token as it is listed: everything but its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessToken {
    /// Its id, in lists and entries.
    pub id: String,
    /// Its rights.
    pub role: Role,
    /// The owner of the wallet, for the role `user`.
    pub user: Option<UserId>,
    /// The beginning of the ids of the locks that the role `locker` may take; none for all but those of wallets.
    pub prefix: Option<String>,
    /// A note for people.
    pub note: Option<String>,
    /// Time of minting, in milliseconds since 1970.
    pub created_at: i64,
    /// Time from which on it is refused.
    pub expires_at: Option<i64>,
    /// Time of its revocation.
    pub revoked_at: Option<i64>,
    /// The hash of its secret: of the one presented, where one was.
    pub secret_hash: Hash,
}

impl AccessToken {
    /// Returns whether it is accepted at that wall time.
    pub fn is_usable(&self, wall_ms: i64) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| wall_ms < end)
    }

    /// Returns whether its role, if that is `locker`, may take this lock.
    pub(crate) fn covers(&self, lock: &LockId) -> bool {
        !lock.is_of_a_wallet() && self.prefix.as_ref().is_none_or(|prefix| lock.as_str().starts_with(prefix))
    }

    /// The caller it stands for: the user for the role `user`, otherwise its id.
    pub fn caller(&self) -> &str {
        self.user.as_ref().map_or(&self.id, |user| user.as_str())
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
            secret_hash: row.get(7)?,
            prefix: row.get(8)?,
        })
    }
}

/// A request for an access token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewToken {
    /// Its rights.
    pub role: Role,
    /// The owner of the wallet: for the role `user`, and only for it.
    pub user: Option<UserId>,
    /// The beginning of the ids of the locks, for the role `locker`: checked by `checked_prefix`.
    pub prefix: Option<String>,
    /// The time until it expires, in seconds.
    pub expires_in_s: Option<i64>,
    /// A note for people.
    pub note: Option<String>,
}

/// A new access token with its secret, which is shown once and never stored.
#[derive(Clone, PartialEq)]
pub struct MintedToken {
    /// The token without its secret.
    pub token: AccessToken,
    /// The secret: `cbx_…`.
    pub secret: String,
}

/// Debugging shows no secret.
impl std::fmt::Debug for MintedToken {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "MintedToken({})", self.token.id)
    }
}

/// The hash under which a secret is stored.
pub fn hash(secret: &str) -> Hash {
    secret::sha256(secret.as_bytes())
}

/// The proof that its maker knows the secret with that hash: the answer to a challenge, which is a random number.
pub(crate) fn proof(challenge: &Hash, secret_hash: &Hash) -> String {
    let mut hasher = secret::Hasher::default();
    [b"cashbox-proof".as_slice(), challenge, secret_hash].into_iter().for_each(|part| hasher.field(Some(part)));
    secret::hex(&hasher.finish())
}

/// A new secret, which cannot be guessed.
pub(crate) fn new_secret() -> String {
    format!("{PREFIX}{}", secret::random_hex::<24>())
}

/// The same, drawn as the writer draws.
pub(crate) fn drawn_secret(tx: &WriteTx<'_>) -> String {
    format!("{PREFIX}{}", tx.randomness().hex::<24>())
}

/// Returns whether the text has the form of a secret: `cbx_` and 16 to 128 characters of `A-Z a-z 0-9 _ -`.
pub fn is_secret(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    text.strip_prefix(PREFIX).is_some_and(|rest| (16..=128).contains(&rest.len()) && rest.bytes().all(plain))
}

macro_rules! token_columns {
    () => {
        "id, role, access_token.user, note, created_at, expires_at, revoked_at, secret_hash, prefix"
    };
}

/// The longest prefix of locks, in bytes: that of a lock's id.
const LOCK_PREFIX_BYTES_MAX: usize = 255;

/// Checks a prefix of locks, which is compared byte for byte. Wallets' locks are not for the role `locker`.
pub(crate) fn checked_prefix(prefix: String) -> Result<String, Error> {
    let detail = match prefix {
        _ if prefix.starts_with(LockId::OF_A_WALLET) => {
            "the role locker takes no locks of wallets: choose a prefix that does not begin with wallet/"
        }
        _ if prefix.is_empty() || prefix.len() > LOCK_PREFIX_BYTES_MAX || prefix.chars().any(is_hidden) => {
            "prefix is the beginning of a lock id: 1 to 255 bytes without control, zero-width or bidirectional characters"
        }
        _ => return Ok(prefix),
    };
    Err(Error::invalid(detail).with("field", "prefix"))
}

/// Mints an access token with that secret.
pub(crate) fn mint(tx: &WriteTx<'_>, new: &NewToken, secret: String) -> Result<MintedToken, Error> {
    let token = token_of(tx, new, hash(&secret));
    insert(tx, &token)?;
    Ok(MintedToken { token, secret })
}

/// A request for a new secret of an access token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RotateToken {
    /// The token's id.
    pub id: String,
    /// The time for which its present secret stays valid, in seconds.
    pub overlap_s: i64,
}

/// The longest overlap: a week, in seconds.
pub(crate) const OVERLAP_S_MAX: i64 = 7 * 86_400;
/// The shortest overlap of a token that rotates itself, in seconds: if the answer is lost, its owner can ask again.
const OWN_OVERLAP_S_MIN: i64 = 60;

/// A secret that was replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReplacedSecret {
    /// Its hash.
    secret_hash: Hash,
    /// The time until which it is valid.
    valid_until: i64,
    /// The time until which those before it are valid, if they were to be valid for longer.
    earlier_until: i64,
}

/// Gives the access token that secret. Its present one, which is returned, stays valid for the overlap, and an earlier one
/// ends now.
pub(crate) fn rotate(
    tx: &WriteTx<'_>,
    rotate: &RotateToken,
    by: &str,
    secret: String,
) -> Result<(MintedToken, ReplacedSecret), Error> {
    let token = get(tx, &rotate.id)?;
    if !token.is_usable(tx.now().wall_ms) {
        let detail = format!("the access token {} was revoked or has expired: mint another", rotate.id);
        return Err(Error::invalid(detail));
    }
    if by == rotate.id && rotate.overlap_s < OWN_OVERLAP_S_MIN {
        let detail = format!(
            "an access token that rotates itself needs an overlap of at least {OWN_OVERLAP_S_MIN} seconds: \
             if the answer with the new secret is lost, the old one is needed once more"
        );
        return Err(Error::invalid(detail).with("field", "overlap_s"));
    }
    let until = tx.now().wall_ms + rotate.overlap_s * 1_000;
    let (token, replaced) = replace_secret(tx, token, &hash(&secret), until)?;
    Ok((MintedToken { token, secret }, replaced))
}

/// Replaces the token's secret; the present one is valid until then, and all earlier ones end now.
fn replace_secret(
    tx: &WriteTx<'_>,
    token: AccessToken,
    secret_hash: &Hash,
    until: i64,
) -> Result<(AccessToken, ReplacedSecret), Error> {
    let now = tx.now().wall_ms;
    tx.execute(
        "UPDATE replaced_secret SET valid_until = $1 WHERE token = $2 AND valid_until > $1",
        params![now, token.id],
    )?;
    tx.execute_one(
        "INSERT INTO replaced_secret (secret_hash, token, valid_until) SELECT secret_hash, id, $1 FROM access_token WHERE id = $2",
        params![until, token.id],
    )?;
    tx.execute_one("UPDATE access_token SET secret_hash = $1 WHERE id = $2", params![secret_hash, token.id])?;
    let replaced = ReplacedSecret { secret_hash: token.secret_hash, valid_until: until, earlier_until: now };
    Ok((AccessToken { secret_hash: *secret_hash, ..token }, replaced))
}

/// The result of adopting an access token.
pub(crate) struct Adopted {
    pub token: AccessToken,
    /// True if it was minted.
    pub is_new: bool,
    /// The secret that it had before.
    pub replaced: Option<ReplacedSecret>,
    /// True if another one, or none, was given at the last start.
    pub is_first_time: bool,
}

/// Makes the secret with that hash, which the operator chose, an admin's access token: another secret of the token that was
/// given at the last start, or a new token. Repeating it changes nothing.
///
/// # Errors
/// `invalid_request` for a secret that was replaced or revoked, or is not an admin's.
pub(crate) fn adopt(tx: &WriteTx<'_>, secret_hash: &Hash) -> Result<Adopted, Error> {
    let now = tx.now().wall_ms;
    let is_replaced =
        tx.one("SELECT 1 FROM replaced_secret WHERE secret_hash = $1", params![secret_hash], |_| Ok(()))?;
    if is_replaced.is_some() {
        return Err(Error::invalid(
            "this secret was replaced by another: an access token never gets an old secret again",
        ));
    }
    let (mut is_new, mut replaced) = (false, None);
    let token = match find(tx, secret_hash)? {
        Some(known) if !known.is_usable(now) => {
            return Err(Error::invalid("this access token was revoked or has expired: choose another"));
        }
        Some(known) if known.role != Role::Admin => {
            let detail =
                format!("this access token has the role {}: choose an admin's or a new one", known.role.as_str());
            return Err(Error::invalid(detail));
        }
        Some(known) => known,
        None => match given_at_start(tx)?.filter(|given| given.is_usable(now)) {
            Some(given) => {
                let (token, before) = replace_secret(tx, given, secret_hash, now)?;
                replaced = Some(before);
                token
            }
            None => {
                let note = Some("given at start".to_owned());
                let new = NewToken { role: Role::Admin, user: None, prefix: None, expires_in_s: None, note };
                let token = token_of(tx, &new, *secret_hash);
                insert(tx, &token)?;
                is_new = true;
                token
            }
        },
    };
    let is_first_time = given_at_start(tx)?.is_none_or(|given| given.id != token.id);
    if is_first_time {
        tx.execute("UPDATE access_token SET at_start = NULL WHERE at_start = 1", &[])?;
        tx.execute_one("UPDATE access_token SET at_start = 1 WHERE id = $1", params![token.id])?;
    }
    Ok(Adopted { token, is_new, replaced, is_first_time })
}

/// The access token that was given at the last start.
fn given_at_start(tx: &Tables<'_>) -> Result<Option<AccessToken>, Error> {
    let sql = concat!("SELECT ", token_columns!(), " FROM access_token WHERE at_start = 1");
    tx.one(sql, &[], AccessToken::read)
}

fn token_of(tx: &WriteTx<'_>, new: &NewToken, secret_hash: Hash) -> AccessToken {
    let now = tx.now().wall_ms;
    AccessToken {
        id: format!("tok:{}", tx.randomness().hex::<8>()), // not the name of any user
        role: new.role,
        user: new.user.clone(),
        prefix: new.prefix.clone(),
        note: new.note.clone(),
        created_at: now,
        expires_at: new.expires_in_s.map(|seconds| now.saturating_add(seconds.saturating_mul(1_000))),
        revoked_at: None,
        secret_hash,
    }
}

fn insert(tx: &WriteTx<'_>, token: &AccessToken) -> Result<(), Error> {
    tx.execute_one(
        "INSERT INTO access_token (id, secret_hash, role, \"user\", note, created_at, expires_at, prefix) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        params![
            token.id,
            token.secret_hash,
            token.role.as_str(),
            token.user,
            token.note,
            token.created_at,
            token.expires_at,
            token.prefix
        ],
    )
}

/// Revokes the token of that id, once and for all. Revoking again changes nothing; returns whether this has changed it.
pub(crate) fn revoke(tx: &WriteTx<'_>, id: &str) -> Result<(AccessToken, bool), Error> {
    let changed = tx.execute(
        "UPDATE access_token SET revoked_at = $1 WHERE id = $2 AND revoked_at IS NULL",
        params![tx.now().wall_ms, id],
    )?;
    Ok((get(tx, id)?, changed > 0))
}

/// The access token of that id.
pub(crate) fn get(tx: &Tables<'_>, id: &str) -> Result<AccessToken, Error> {
    let sql = concat!("SELECT ", token_columns!(), " FROM access_token WHERE id = $1");
    tx.one(sql, params![id], AccessToken::read)?
        .ok_or_else(|| Error::new(ErrorName::TokenNotFound, format!("there is no access token {id}")))
}

/// Refuses a token that was accepted when its request came and is not any more: it was revoked, has expired or has another
/// secret since.
pub(crate) fn check(tx: &WriteTx<'_>, presented: &AccessToken) -> Result<(), Error> {
    let now = find(tx, &presented.secret_hash)?;
    let is_same =
        |token: &AccessToken| token.id == presented.id && token.role == presented.role && token.user == presented.user;
    match now.filter(|token| is_same(token) && token.is_usable(tx.now().wall_ms)) {
        Some(_) => Ok(()),
        None => Err(Error::new(ErrorName::Unauthenticated, NOT_USABLE)),
    }
}

/// The sentence for a token that is not accepted.
pub(crate) const NOT_USABLE: &str = "this access token is unknown, revoked or expired";

/// The access token with that secret's hash, usable or not. With a secret that was replaced it expires when that does.
pub(crate) fn find(tx: &Tables<'_>, secret_hash: &Hash) -> Result<Option<AccessToken>, Error> {
    let sql = concat!("SELECT ", token_columns!(), " FROM access_token WHERE secret_hash = $1");
    if let Some(token) = tx.one(sql, params![secret_hash], AccessToken::read)? {
        return Ok(Some(token));
    }
    let sql = "SELECT id, role, access_token.user, note, created_at, \
               CASE WHEN expires_at < valid_until THEN expires_at ELSE valid_until END, revoked_at, replaced_secret.secret_hash, prefix \
               FROM replaced_secret JOIN access_token ON id = token WHERE replaced_secret.secret_hash = $1";
    tx.one(sql, params![secret_hash], AccessToken::read)
}

/// Access tokens in the order of their ids, after `after`.
pub(crate) fn list(tx: &Tables<'_>, after: &str, limit: usize) -> Result<Vec<AccessToken>, Error> {
    let sql = concat!("SELECT ", token_columns!(), " FROM access_token WHERE id > $1 ORDER BY id LIMIT $2");
    tx.all(sql, params![after, limit], AccessToken::read)
}

/// Returns whether any admin's access token is accepted at that wall time.
pub(crate) fn has_usable_admin(tx: &Tables<'_>, wall_ms: i64) -> Result<bool, Error> {
    let sql = "SELECT 1 FROM access_token WHERE role = 'admin' AND revoked_at IS NULL \
               AND (expires_at IS NULL OR expires_at > $1) LIMIT 1";
    Ok(tx.one(sql, params![wall_ms], |_| Ok(()))?.is_some())
}

/// SHA-256 of the hash of a secret: a secret that an operator chose may be guessable, and its hash opens it to a search.
fn digest(secret_hash: &Hash) -> String {
    hex(&sha256(secret_hash))
}

/// The journal's description of an access token: all that its row has but the id and the mark of the last start.
pub(crate) fn detail(tx: &Tables<'_>, id: &str) -> Result<Option<Value>, Error> {
    let sql = "SELECT role, access_token.user, note, prefix, created_at, expires_at, revoked_at, secret_hash \
               FROM access_token WHERE id = $1";
    tx.one(sql, params![id], |row| {
        let time = |column| row.get::<Option<i64>>(column).map(|ms| ms.map(rfc3339));
        Ok(json!({
            "role": row.get::<String>(0)?,
            "user": row.get::<Option<String>>(1)?,
            "note": row.get::<Option<String>>(2)?,
            "prefix": row.get::<Option<String>>(3)?,
            "created_at": time(4)?,
            "expires_at": time(5)?,
            "revoked_at": time(6)?,
            "secret": digest(&row.get(7)?),
        }))
    })
}

/// The fields of a detail that lead to a secret: answers leave them out.
pub(crate) const SECRET_FIELDS: [&str; 2] = ["secret", "replaced"];

/// The journal's description of a secret that was replaced.
pub(crate) fn replaced_detail(replaced: &ReplacedSecret) -> Value {
    json!({
        "secret": digest(&replaced.secret_hash),
        "valid_until": replaced.valid_until,
        "earlier_until": replaced.earlier_until,
    })
}

/// The secrets that an access token had, each as in the journal and with the time until which it is valid.
pub(crate) fn replaced_secrets(tx: &Tables<'_>, token: &str) -> Result<Vec<(String, i64)>, Error> {
    let sql = "SELECT secret_hash, valid_until FROM replaced_secret WHERE token = $1 ORDER BY secret_hash";
    tx.all(sql, params![token], |row| Ok((digest(&row.get(0)?), row.get(1)?)))
}

/// The id of the access token that was given at the last start.
pub(crate) fn id_at_start(tx: &Tables<'_>) -> Result<Option<String>, Error> {
    tx.one("SELECT id FROM access_token WHERE at_start = 1", &[], |row| row.get(0))
}

/// Returns whether there is an access token of that id.
pub(crate) fn is_there(tx: &Tables<'_>, id: &str) -> Result<bool, Error> {
    Ok(tx.one("SELECT 1 FROM access_token WHERE id = $1", params![id], |_| Ok(()))?.is_some())
}
