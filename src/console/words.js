// Words, in English; `chinese.js` has the same keys. `{0}` takes an argument, which may be a node. The words of the ledger are
// those of the API.

const ENGLISH = {
  // Views and figures
  today: 'Today', wallets: 'Wallets', wallet: 'Wallet', entries: 'Entries', coupons: 'Coupons', locks: 'Locks', tokens: 'Tokens',
  health: 'Health', views: 'Views', skip: 'Skip to content', takings: 'Takings', recharged: 'Recharged', withdrawn: 'Withdrawn',
  refunds: 'Refunds', customers_hold: 'Customers hold', in_wallets: 'in all wallets, now',
  takings_why: '{0} payments, refunds of payments taken off', count: '{0} entries', count_one: '1 entry',
  last_week: '{0} a week earlier', day: 'Day', week: '7 days', month: '30 days', earlier: 'Earlier', later: 'Later',
  per_hour: '{0} per hour', per_day: '{0} per day', as_table: 'Show as a table', as_chart: 'Show as a chart',
  newest: 'Newest entries', live: 'live', paused: 'paused', nothing_yet: 'Nothing yet.',
  // Columns and fields
  time: 'Time', kind: 'Kind', from_to: 'From → to', amount: 'Amount', balance: 'Balance', held: 'Held', user: 'User',
  last_at: 'Last activity', reference: 'Reference', after: 'Balance after', id: 'Id', role: 'Role', note: 'Note',
  created: 'Created', expires: 'Expires', last_used: 'Last used', state: 'State', holder: 'Holder', fence: 'Fence',
  queue: 'Queue', left: 'Time left', coupon: 'Coupon', gross: 'Price', by: 'By', hash: 'Hash', metadata: 'Metadata',
  code: 'Code', to: 'To', needed: 'Needed', name: 'Name', status: 'Status', optional: 'optional',
  event: 'Event', terms: 'Terms', now: 'now', then: 'afterwards',
  prefix: 'Begin of its locks', pick_lock: 'Choose a lock to see what happened to it.',
  // Kinds, verbs, states
  recharge: 'Recharge', withdraw: 'Withdraw', pay: 'Pay', transfer: 'Transfer', refund: 'Refund', hold: 'Hold',
  capture: 'Capture', release: 'Release', void: 'Void', open: 'open', frozen: 'frozen', closed: 'closed', captured: 'captured',
  voided: 'voided', expired: 'expired', reserved: 'reserved', revoked: 'revoked', usable: 'usable', used: 'used',
  taken_back: 'taken back', grace: 'grace', stale: 'stale', resting: 'resting', pending: 'open', free: 'free', is_held: 'held',
  released: 'released', taken_over: 'taken over', granted: 'granted',
  // Wallets
  all_kinds: 'All kinds', search_wallet: 'User or name begins with …', sort: 'Order', by_name: 'by user',
  by_balance: 'largest balance', no_wallets: 'No wallet begins with “{0}”.',
  first_wallet: 'A wallet appears with its first recharge.', history: 'History', balance_over: 'Balance over the last 30 days',
  newest_of: 'the newest {0} entries', more: 'More', end: 'That is all.', no_entries: 'No entries match.',
  no_wallet: '{0} has no wallet yet; the first recharge makes one.', settings: 'Settings', edit: 'Edit', freeze: 'Freeze',
  unfreeze: 'Unfreeze', per_payment: 'Most at once', per_day_limit: 'Most in a day (UTC)', unlimited: 'no limit',
  spent_today: 'Spent today', holds: 'Holds', no_holds: 'No holds.', final: 'The rest', rest_back: 'goes back',
  rest_stays: 'stays reserved', hours: 'Valid for hours',
  // Entries
  find_entry: 'Reference, number of an entry, or key=value', since: 'Since', until: 'Until', find: 'Find', csv: 'CSV',
  entry: 'Entry {0}', refunds_of_it: 'Refunds of it', refunds_entry: 'Refunds entry {0}',
  none_refunded: 'Nothing of it has been refunded.', refundable: '{0} can still be refunded',
  balances_after: 'Balances after it', hold_number: 'Hold {0}',
  // Dialogs
  review: 'Continue', back: 'Back', cancel: 'Cancel', close: 'Close', again: 'Try again', done: 'Done',
  read_again: 'Read it again', tell_recharge: '{0} receives {1}.', tell_withdraw: '{0} takes out {1}.',
  tell_pay: '{0} pays {1}.', tell_transfer: '{0} gives {1} to {2}.',
  tell_pay_coupon: '{0} pays {1} instead of {2}, with coupon {3}.', tell_refund: '{0} of entry {1} goes back to {2}.',
  tell_grant: '{0} gets a coupon: {1}.', tell_claim: '{0} gets the coupon of the code {1}.',
  tell_hold: '{1} of {0} is reserved for {2}.', tell_capture: '{0} of hold {1} goes to {2}.',
  tell_void: '{0} of hold {1} goes back to {2}.', tell_freeze: 'Money may come into the wallet of {0}; none goes out.',
  tell_unfreeze: 'The wallet of {0} pays again.', tell_set: 'The wallet of {0} changes:', tell_revoke: '{0} loses the lock {1}.',
  tell_unrest: 'The lock {0} rests no longer: any client may take it.',
  tell_token_revoke: '{0} stops working at once.',
  tell_revoke_more: 'What it writes under fence {0} from now on is refused. Others may take the lock {1} s later.',
  own_token: 'It is the access token of this page, which then ends here.', tell_mint: 'A new access token: {0}.',
  will_earn: 'Earns a coupon: {0}.', too_much: 'More than {0} has: it will be refused.',
  would_refuse: 'As it is now, it will be refused:', has_lock: '{0} has its lock: this waits up to 5 s.',
  another: 'Another client', holds_lock: '{0} holds the lock, for {1} at most.', busy: 'Busy', try_in: 'Try again in {0} s',
  once: 'One press or two, it happens once.',
  lost: 'No answer came. It may have happened or not: trying again is safe, it is the same request.',
  lost_keyless: 'No answer came. Close this and look at the list before you try again.', earned: 'Earned coupon {0}',
  balance_now: 'Balance of {0}: {1}',
  amount_form: 'Write an amount as 12.50: from 0.01 to 1000000000000.00, two decimals at most.', no_user: 'Write a user.',
  a_number: 'Write a whole number.', nothing_changed: 'Nothing is changed.',
  // Coupons
  kinds: 'Kinds', tiers: 'Recharge tiers', off: 'Off', percent: 'Percent off', from: 'From', threshold: 'Threshold',
  single: 'Once', earns: 'Earns kind', save: 'Save', add: 'Add a row', earned_en: 'What a customer reads (en)',
  earned_zh: '… (zh)', remove: 'Remove this row', tell_save: '{0} rows apply from now on.', row_new: 'New: {0}',
  row_changed: 'Changed: {0}', row_gone: 'Removed: {0}',
  keep_terms: 'Coupons already given keep the terms they were given under.', look_up: 'Look a code up',
  quote: 'What would it cost?', no_coupons: 'No coupons.', off_amount: '{0} off', off_percent: '{0} % off',
  from_amount: 'from {0}', for_life: 'for life', at_most: 'at most {0}', until_day: 'until {0}', grant: 'Grant a coupon',
  claim: 'Enter a code', more_terms: 'Dates, limits, claim code', max_off: 'Most it takes off', valid_days: 'Valid for days',
  valid_from: 'Given from', valid_until: 'Ends at', limit_total: 'Limit in all', limit_per_user: 'Limit per user',
  claim_code: 'Claim code', faster: 'Another editor was faster.',
  // Locks and tokens
  find_lock: 'Id begins with …', no_locks: 'No lock is held.', events: 'What happened to it', all_events: 'What happened',
  revoke: 'Revoke', why: 'Reason', no_reason: 'Write a reason.', waits: 'waits', delay: 'Others wait (s)',
  lock_free: 'Lock: free', lock_held: 'Locked by {0}, fence {1}', lock_changed: 'Another client has it now; it is read again.',
  mint: 'Mint an access token', mint_one: 'Mint', copy: 'Copy', copied: 'Copied', never: 'never',
  shown_once: 'This is shown once. Only its hash is kept.', no_tokens: 'No access tokens.',
  // Health
  server: 'Server', verify: 'Audit the file', run_verify: 'Run the audit',
  clean: 'Clean: {0} entries, {1} wallets, every hash and balance as it must be.', findings: '{0} findings',
  last_hash: 'Last hash', verify_hint: 'Reads everything again while the server goes on.', backup: 'Backup',
  backup_hint: 'One moment of the file, audited, as a database: about {0}.', download: 'Download', figures: 'Figures since {0}',
  version: 'Version', queued: 'Commands queued', waiting: 'Requests that wait', good_requests: 'Requests answered',
  file_size: 'Size of the file', refused_requests: 'Requests refused (4xx)', failed_requests: 'Requests failed (5xx)',
  commands: 'Commands', commits: 'Commits', replays: 'Answers repeated under a key', lock_waits: 'Waits for a lock',
  takeovers: 'Dead leases taken over', log: 'Write-ahead log', free_bytes: 'Free on the disk', journal: 'Journal', what: 'What',
  subject: 'Of', token: 'token', minted: 'minted', rotated: 'rotated', adopted: 'adopted', set: 'set', claimed: 'claimed',
  upgraded: 'upgraded', imported: 'imported', restored: 'restored',
  // Frame
  sign_in: 'Access token', open_it: 'Open', forget: 'Forget token', theme: 'Theme',
  sign_hint: 'Paste an access token (cbx_…). It stays in this tab and is forgotten when the tab closes.',
  sign_where: 'Lost? On the server’s machine, “cashbox token create --role admin” mints another.',
  bad_token: 'This access token is not accepted (any more).', is_open: 'Open to every local account: no tokens',
  no_server: 'The server does not answer.', trying: 'Trying again …',
  clock_off: 'The clock of this device is off by {0}; days and times are the server’s.', keys: 'Keys',
  keys_on: 'Single keys are on', keys_off: 'Single keys are off', key_views: '1 … 7  the views', key_find: '/  find',
  key_rows: '↑ ↓  rows, Enter opens', key_esc: 'Esc  close, go back',
};


/** Keeps a setting of this browser; undefined reads it. Never the access token. */
export function stored(name, value) {
  try {
    if (value === undefined) return localStorage.getItem(name);
    localStorage.setItem(name, value);
  } catch { /* a private window keeps nothing */ }
  return null;
}

export let language = 'en';
let words = ENGLISH;
/** Takes up a language; without one that was chosen before, or the browser's. If its words cannot be had, the other one stays. */
export async function speak(wanted = stored('language') ?? (navigator.language.startsWith('zh') ? 'zh' : 'en')) {
  try { words = wanted === 'zh' ? (await import('./chinese.js')).CHINESE : ENGLISH; } catch { return; }
  language = wanted;
}
export async function switchLanguage() {
  await speak(language === 'zh' ? 'en' : 'zh');
  stored('language', language);
}

export function t(name, ...args) {
  const text = words[name] ?? name;
  if (!args.length) return text;
  const parts = text.split(/\{(\d)\}/).map((part, at) => (at % 2 ? args[part] : part));
  if (!args.some((arg) => arg instanceof Node)) return parts.join('');
  const line = document.createElement('span');
  line.append(...parts);
  return line;
}
