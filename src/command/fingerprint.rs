//! The fingerprint of a command: the hash of its canonical text. Records in existing files hold it, so it never changes.

use super::{
    AtomicBatch, ClaimCoupon, Command, CreateWallet, GrantCoupon, MoneyCommand, NameBatch, RevokeToken, SetCouponKinds,
    SetTiers, SetWallet, TryEach,
};
use crate::ledger::Note;
use crate::ledger::coupon::{CouponKind, Discount, KindLimits};
use crate::ledger::hold::{CaptureHold, PlaceHold, VoidHold};
use crate::ledger::verbs::{Pay, Recharge, Refund, Transfer, Withdraw};
use crate::lock::lease::RevokeRequest;
use crate::secret;
use std::io::Write;

impl Command {
    /// The tag of a table that this command would make: the same for the same rows.
    pub(crate) fn tag(&self) -> String {
        self.fingerprint().map(|fingerprint| secret::hex(&fingerprint)).unwrap_or_default()
    }

    /// The same 16 bytes for the same request, however it was written (`120` or `120.00`, form or JSON). None if its
    /// answer is never stored under a key: it carries a secret, or is repeated by one.
    pub fn fingerprint(&self) -> Option<[u8; 16]> {
        let mut text = Canonical::default();
        match self {
            Command::Money(money) => money.write(&mut text),
            Command::Batch(AtomicBatch(items)) => {
                text.field("batch").field(items.len());
                items.iter().for_each(|item| item.write(&mut text));
            }
            Command::CreateWallet(CreateWallet { user }) => _ = text.field("create-wallet").field(user),
            Command::SetWallet(change) => text.set_wallet(change),
            Command::GrantCoupon(GrantCoupon { user, kind }) => _ = text.field("coupon").field(user).field(kind),
            Command::ClaimCoupon(ClaimCoupon { user, code }) => _ = text.field("claim").field(user).field(code),
            Command::SetTiers(SetTiers(tiers)) => {
                text.field("tiers");
                tiers.iter().for_each(|tier| _ = text.field(tier.from).optional(tier.kind.as_ref()));
            }
            Command::SetCouponKinds(SetCouponKinds(kinds)) => {
                text.field("coupon-kinds");
                kinds.iter().for_each(|kind| text.coupon_kind(kind));
            }
            Command::RevokeToken(RevokeToken(id)) => _ = text.field("revoke-token").field(id),
            Command::NameBatch(NameBatch(items)) | Command::TryEach(TryEach { name: Some(NameBatch(items)), .. }) => {
                text.field("name-batch").field(secret::hex(items));
            }
            Command::Revoke(RevokeRequest { id, fence, delay_ms, reason }) => {
                text.field("revoke").field(id).field(fence.0).optional(delay_ms.as_ref()).optional(reason.as_ref());
            }
            Command::MintToken(_)
            | Command::TryEach(_)
            | Command::RotateToken(_)
            | Command::AdoptToken(_)
            | Command::Acquire(_)
            | Command::Renew(_)
            | Command::Release(_)
            | Command::ReleaseUndelivered(_) => return None,
        }
        Some(text.hash())
    }

    /// The same 16 bytes for the same request for locks: a client repeats it with the same secret.
    pub fn acquire_key(&self) -> Option<[u8; 16]> {
        let Command::Acquire(request) = self else { return None };
        let mut text = Canonical::default();
        text.field("acquire").field(request.secret.as_str());
        if request.any {
            text.optional(None::<&str>); // no lock's id
        }
        request.ids.iter().for_each(|id| _ = text.field(id));
        Some(text.hash())
    }
}

impl MoneyCommand {
    /// The client's own words about it.
    pub(crate) fn note(&self) -> &Note {
        match self {
            MoneyCommand::Recharge(Recharge { note, .. })
            | MoneyCommand::Withdraw(Withdraw { note, .. })
            | MoneyCommand::Pay(Pay { note, .. })
            | MoneyCommand::Transfer(Transfer { note, .. })
            | MoneyCommand::Refund(Refund { note, .. })
            | MoneyCommand::Hold(PlaceHold { note, .. })
            | MoneyCommand::Capture(CaptureHold { note, .. })
            | MoneyCommand::Void(VoidHold { note, .. }) => note,
        }
    }

    /// As [`Command::fingerprint`].
    pub fn fingerprint(&self) -> [u8; 16] {
        let mut text = Canonical::default();
        self.write(&mut text);
        text.hash()
    }

    fn write(&self, text: &mut Canonical) {
        match self {
            MoneyCommand::Recharge(Recharge { user, amount, note }) => {
                text.field("recharge").field(user).field(amount).note(note);
            }
            MoneyCommand::Withdraw(Withdraw { user, amount, note }) => {
                text.field("withdraw").field(user).field(amount).note(note);
            }
            MoneyCommand::Pay(Pay { user, to, gross, coupon, note }) => {
                text.field("pay").field(user).field(to).field(gross).optional(coupon.as_ref()).note(note);
            }
            MoneyCommand::Transfer(Transfer { from, to, amount, note }) => {
                text.field("transfer").field(from).field(to).field(amount).note(note);
            }
            MoneyCommand::Refund(Refund { entry, amount, note }) => {
                text.field("refund").field(entry.0).optional(amount.as_ref()).note(note);
            }
            MoneyCommand::Hold(PlaceHold { user, to, gross, expires_in_s, coupon, note }) => {
                text.field("hold").field(user).field(to).field(gross).field(expires_in_s);
                text.optional(coupon.as_ref()).note(note);
            }
            MoneyCommand::Capture(CaptureHold { hold, amount, is_final, note }) => {
                text.field("capture").field(hold.0).optional(amount.as_ref()).field(is_final).note(note);
            }
            MoneyCommand::Void(VoidHold { hold, note }) => text.field("void").field(hold.0).note(note),
        }
    }
}

/// The canonical text of a command: its verb and its fields, each with its length before it, so that no two commands
/// read the same. Records in existing files hold its hash, so it never changes.
struct Canonical(Vec<u8>);

impl Default for Canonical {
    fn default() -> Canonical {
        Canonical(Vec::with_capacity(128))
    }
}

impl Canonical {
    fn field(&mut self, value: impl std::fmt::Display) -> &mut Canonical {
        let start = self.0.len() + 4;
        self.0.extend([0; 4]);
        let _ = write!(self.0, "{value}"); // writing to memory does not fail
        let length = (self.0.len() - start) as u32;
        self.0[start - 4..start].copy_from_slice(&length.to_be_bytes());
        self
    }

    fn optional(&mut self, value: Option<impl std::fmt::Display>) -> &mut Canonical {
        match value {
            Some(value) => self.field(value),
            None => {
                self.0.extend(u32::MAX.to_be_bytes());
                self
            }
        }
    }

    fn note(&mut self, note: &Note) {
        self.optional(note.reference.as_ref()).optional(note.metadata.as_ref());
    }

    fn set_wallet(&mut self, change: &SetWallet) {
        let SetWallet { user, name, status, metadata, limit_per_payment, limit_per_day } = change;
        self.field("set-wallet").field(user);
        name.iter().for_each(|name| _ = self.field("name").optional(name.as_ref()));
        status.iter().for_each(|status| _ = self.field("status").field(status.as_str()));
        metadata.iter().for_each(|metadata| _ = self.field("metadata").optional(metadata.as_ref()));
        limit_per_payment.iter().for_each(|limit| _ = self.field("limit_per_payment").optional(limit.as_ref()));
        limit_per_day.iter().for_each(|limit| _ = self.field("limit_per_day").optional(limit.as_ref()));
    }

    fn coupon_kind(&mut self, kind: &CouponKind) {
        let CouponKind { kind, terms, earned_zh, earned_en, limits } = kind;
        match terms.off {
            Discount::Amount(amount) => self.field(kind).field("amount").field(amount),
            Discount::Percent(percent) => self.field(kind).field("percent").field(percent),
        };
        self.field(terms.threshold).field(terms.single_use).field(earned_zh).field(earned_en);
        if terms.max_off.is_none() && *limits == KindLimits::default() {
            return; // as before there were any
        }
        let KindLimits { valid_days, valid_from, valid_until, total, per_user, claim_code } = limits;
        self.field("+limits").optional(terms.max_off).optional(valid_days.as_ref()).optional(valid_from.as_ref());
        self.optional(valid_until.as_ref()).optional(total.as_ref()).optional(per_user.as_ref());
        self.optional(claim_code.as_ref());
    }

    fn hash(&self) -> [u8; 16] {
        secret::sha256_short(&self.0)
    }
}
