//! Commands that move no money, each with its line in the journal. One that changes nothing writes none.

use super::{AdoptToken, ClaimCoupon, GrantCoupon, RevokeToken, SetCouponKinds, SetTiers};
use crate::error::Error;
use crate::journal::{self, ChangeKind};
use crate::ledger::coupon::{self, Coupon, CouponKind, Tier};
use crate::ledger::settings::{self, CreateWallet, SetWallet, WalletSettings};
use crate::ledger::{Wallet, detail, verbs};
use crate::token::{self, AccessToken, MintedToken, NewToken, ReplacedSecret, RotateToken};
use crate::tx::WriteTx;
use serde_json::json;

impl CreateWallet {
    /// Carries it out for `by`.
    pub(super) fn carry_out(&self, tx: &WriteTx<'_>, by: &str) -> Result<Wallet, Error> {
        let wallet = settings::create(tx, &self.user)?;
        let created = detail::created_wallet(tx.now().wall_ms);
        journal::append(tx, by, ChangeKind::WalletCreated, Some(wallet.id.as_str()), &created)?;
        Ok(wallet)
    }
}

impl SetWallet {
    /// Carries it out for `by`.
    pub(super) fn carry_out(&self, tx: &WriteTx<'_>, is_admin: bool, by: &str) -> Result<WalletSettings, Error> {
        let wallet = self.user.wallet();
        let before = settings::settings(tx, &wallet)?;
        let settings = settings::set(tx, self, is_admin)?;
        if settings != before {
            journal::append(tx, by, ChangeKind::WalletSet, Some(wallet.as_str()), &detail::settings(&settings))?;
        }
        Ok(settings)
    }
}

impl GrantCoupon {
    /// Carries it out for `by`.
    pub(super) fn carry_out(&self, tx: &WriteTx<'_>, by: &str) -> Result<Coupon, Error> {
        let coupon = verbs::grant_coupon(tx, &self.user, &self.kind)?;
        append_coupon(tx, by, ChangeKind::CouponGranted, coupon)
    }
}

impl ClaimCoupon {
    /// Carries it out for `by`.
    pub(super) fn carry_out(&self, tx: &WriteTx<'_>, by: &str) -> Result<Coupon, Error> {
        let coupon = verbs::claim_coupon(tx, &self.user, &self.code)?;
        append_coupon(tx, by, ChangeKind::CouponClaimed, coupon)
    }
}

fn append_coupon(tx: &WriteTx<'_>, by: &str, what: ChangeKind, coupon: Coupon) -> Result<Coupon, Error> {
    let given = detail::given_coupon(tx, coupon.code.as_str())?;
    let given = given.ok_or_else(|| Error::internal("a coupon that was just given is not there"))?;
    journal::append(tx, by, what, Some(coupon.code.as_str()), &given.detail())?;
    Ok(coupon)
}

impl SetTiers {
    /// Carries it out for `by`.
    pub(super) fn carry_out(&self, tx: &WriteTx<'_>, by: &str) -> Result<Vec<Tier>, Error> {
        let before = detail::tiers(&coupon::tiers(tx)?);
        coupon::set_tiers(tx, &self.0)?;
        let after = detail::tiers(&coupon::tiers(tx)?);
        if after != before {
            journal::append(tx, by, ChangeKind::TiersSet, None, &json!({ "tiers": after }))?;
        }
        Ok(self.0.clone())
    }
}

impl SetCouponKinds {
    /// Carries it out for `by`.
    pub(super) fn carry_out(&self, tx: &WriteTx<'_>, by: &str) -> Result<Vec<CouponKind>, Error> {
        let before = detail::kinds(&coupon::kinds(tx)?);
        coupon::set_kinds(tx, &self.0)?;
        let after = detail::kinds(&coupon::kinds(tx)?);
        if after != before {
            journal::append(tx, by, ChangeKind::KindsSet, None, &json!({ "kinds": after }))?;
        }
        Ok(self.0.clone())
    }
}

impl NewToken {
    /// Carries it out for `by`.
    pub(super) fn carry_out(&self, tx: &WriteTx<'_>, by: &str) -> Result<MintedToken, Error> {
        let minted = token::mint(tx, self, token::drawn_secret(tx))?;
        append_token(tx, by, ChangeKind::TokenMinted, &minted.token, None)?;
        Ok(minted)
    }
}

impl RotateToken {
    /// Carries it out for `by`.
    pub(super) fn carry_out(&self, tx: &WriteTx<'_>, by: &str) -> Result<MintedToken, Error> {
        let (minted, replaced) = token::rotate(tx, self, by, token::drawn_secret(tx))?;
        append_token(tx, by, ChangeKind::TokenRotated, &minted.token, Some(&replaced))?;
        Ok(minted)
    }
}

impl RevokeToken {
    /// Carries it out for `by`.
    pub(super) fn carry_out(&self, tx: &WriteTx<'_>, by: &str) -> Result<AccessToken, Error> {
        let (token, is_changed) = token::revoke(tx, &self.0)?;
        if is_changed {
            append_token(tx, by, ChangeKind::TokenRevoked, &token, None)?;
        }
        Ok(token)
    }
}

impl AdoptToken {
    /// Carries it out for `by`.
    pub(super) fn carry_out(&self, tx: &WriteTx<'_>, by: &str) -> Result<AccessToken, Error> {
        let adopted = token::adopt(tx, &self.0)?;
        if adopted.is_new {
            append_token(tx, by, ChangeKind::TokenMinted, &adopted.token, None)?;
        }
        if let Some(replaced) = &adopted.replaced {
            append_token(tx, by, ChangeKind::TokenRotated, &adopted.token, Some(replaced))?;
        }
        if adopted.is_first_time {
            journal::append(tx, by, ChangeKind::TokenAdopted, Some(&adopted.token.id), &json!({}))?;
        }
        Ok(adopted.token)
    }
}

fn append_token(
    tx: &WriteTx<'_>,
    by: &str,
    what: ChangeKind,
    token: &AccessToken,
    replaced: Option<&ReplacedSecret>,
) -> Result<(), Error> {
    let detail = token::detail(tx, &token.id)?;
    let mut detail = detail.ok_or_else(|| Error::internal("an access token that was just written is not there"))?;
    if let Some(replaced) = replaced {
        detail["replaced"] = token::replaced_detail(replaced);
    }
    journal::append(tx, by, what, Some(&token.id), &detail)
}
