// Words: [English, Chinese]. `{0}` takes an argument, which may be a node. The words of the ledger are those of the API.

const WORDS = {
  // Views and figures
  today: ['Today', '今日'], wallets: ['Wallets', '钱包'], wallet: ['Wallet', '钱包'], entries: ['Entries', '流水'],
  coupons: ['Coupons', '优惠券'], locks: ['Locks', '锁'], tokens: ['Tokens', '令牌'], health: ['Health', '状态'],
  views: ['Views', '视图'], skip: ['Skip to content', '跳到内容'],
  takings: ['Takings', '营收'], recharged: ['Recharged', '充值'], withdrawn: ['Withdrawn', '提现'], refunds: ['Refunds', '退款'],
  customers_hold: ['Customers hold', '客户余额'], in_wallets: ['in all wallets, now', '全部钱包，此刻'],
  takings_why: ['{0} payments, refunds of payments taken off', '{0} 笔支付，已扣除退款'], count: ['{0} entries', '{0} 笔'],
  count_one: ['1 entry', '1 笔'], last_week: ['{0} a week earlier', '上周同期 {0}'],
  day: ['Day', '日'], week: ['7 days', '7 天'], month: ['30 days', '30 天'], earlier: ['Earlier', '更早'], later: ['Later', '更晚'],
  per_hour: ['{0} per hour', '每小时{0}'], per_day: ['{0} per day', '每日{0}'], as_table: ['Show as a table', '以表格显示'],
  as_chart: ['Show as a chart', '以图表显示'], newest: ['Newest entries', '最新流水'], live: ['live', '实时'],
  paused: ['paused', '已暂停'], nothing_yet: ['Nothing yet.', '暂无数据。'],
  // Columns and fields
  time: ['Time', '时间'], kind: ['Kind', '类型'], from_to: ['From → to', '付款方 → 收款方'], amount: ['Amount', '金额'],
  balance: ['Balance', '余额'], held: ['Held', '冻结'], user: ['User', '用户'], last_at: ['Last activity', '最近活动'],
  reference: ['Reference', '参考号'], after: ['Balance after', '之后余额'], id: ['Id', '编号'], role: ['Role', '角色'],
  note: ['Note', '备注'], created: ['Created', '创建'], expires: ['Expires', '到期'], last_used: ['Last used', '最近使用'],
  state: ['State', '状态'], holder: ['Holder', '持有者'], fence: ['Fence', '栅栏号'], queue: ['Queue', '排队'],
  left: ['Time left', '剩余时间'], coupon: ['Coupon', '优惠券'], gross: ['Price', '原价'], by: ['By', '操作者'],
  hash: ['Hash', '哈希'], metadata: ['Metadata', '元数据'], code: ['Code', '券码'], to: ['To', '收款方'], needed: ['Needed', '需要'],
  name: ['Name', '姓名'], status: ['Status', '状态'], optional: ['optional', '可选'], prefix: ['Prefix', '前缀'],
  event: ['Event', '事件'], terms: ['Terms', '条款'], now: ['now', '现在'], then: ['afterwards', '之后'],
  // Kinds, verbs, states
  recharge: ['Recharge', '充值'], withdraw: ['Withdraw', '提现'], pay: ['Pay', '支付'], transfer: ['Transfer', '转账'],
  refund: ['Refund', '退款'], hold: ['Hold', '预留'], capture: ['Capture', '扣款'], release: ['Release', '释放'],
  void: ['Void', '取消预留'], open: ['open', '正常'], frozen: ['frozen', '已冻结'], closed: ['closed', '已关闭'],
  captured: ['captured', '已扣款'], voided: ['voided', '已取消'], expired: ['expired', '已过期'], reserved: ['reserved', '已预留'],
  revoked: ['revoked', '已撤销'], usable: ['usable', '可用'], used: ['used', '已使用'], taken_back: ['taken back', '已收回'],
  grace: ['grace', '宽限'], stale: ['stale', '过期'], resting: ['resting', '静置'], free: ['free', '空闲'], is_held: ['held', '持有'],
  released: ['released', '已释放'], taken_over: ['taken over', '被接管'], granted: ['granted', '已获取'],
  // Wallets
  all_kinds: ['All kinds', '全部类型'], search_wallet: ['Find a wallet: the user begins with …', '查找钱包：用户名开头…'],
  sort: ['Order', '排序'], by_name: ['by user', '按用户名'], by_balance: ['largest balance', '余额最多'],
  no_wallets: ['No wallet begins with “{0}”.', '没有以“{0}”开头的钱包。'],
  first_wallet: ['A wallet appears with its first recharge.', '首次充值即创建钱包。'], history: ['History', '历史'],
  balance_over: ['Balance over the last 30 days', '最近 30 天余额'], newest_of: ['the newest {0} entries', '最新 {0} 笔'],
  more: ['More', '更多'], end: ['That is all.', '已全部显示。'], no_entries: ['No entries match.', '没有符合条件的流水。'],
  no_wallet: ['{0} has no wallet yet; the first recharge makes one.', '{0} 还没有钱包，首次充值即创建。'],
  settings: ['Settings', '设置'], edit: ['Edit', '编辑'], freeze: ['Freeze', '冻结'], unfreeze: ['Unfreeze', '解冻'],
  per_payment: ['Most at once', '单笔上限'], per_day_limit: ['Most in a day (UTC)', '每日上限 (UTC)'], unlimited: ['no limit', '不限'],
  spent_today: ['Spent today', '今日已用'], holds: ['Holds', '预留'], no_holds: ['No holds.', '没有预留。'], final: ['The rest', '余额'],
  rest_back: ['goes back', '退回'], rest_stays: ['stays reserved', '继续预留'], hours: ['Valid for hours', '有效小时数'],
  // Entries
  find_entry: ['Reference, number of an entry, or key=value', '参考号、流水编号或 键=值'], since: ['Since', '起'], until: ['Until', '止'],
  find: ['Find', '查找'], csv: ['CSV', 'CSV'], entry: ['Entry {0}', '流水 {0}'], refunds_of_it: ['Refunds of it', '退款记录'],
  refunds_entry: ['Refunds entry {0}', '是流水 {0} 的退款'], none_refunded: ['Nothing of it has been refunded.', '尚未退款。'],
  refundable: ['{0} can still be refunded', '还可退款 {0}'], balances_after: ['Balances after it', '之后的余额'],
  hold_number: ['Hold {0}', '预留 {0}'],
  // Dialogs
  review: ['Continue', '继续'], back: ['Back', '返回'], cancel: ['Cancel', '取消'], close: ['Close', '关闭'], again: ['Try again', '重试'],
  done: ['Done', '已完成'], read_again: ['Read it again', '重新读取'],
  tell_recharge: ['{0} receives {1}.', '{0} 收到 {1}。'], tell_withdraw: ['{0} takes out {1}.', '{0} 提取 {1}。'],
  tell_pay: ['{0} pays {1}.', '{0} 支付 {1}。'], tell_transfer: ['{0} gives {1} to {2}.', '{0} 转给 {2} {1}。'],
  tell_pay_coupon: ['{0} pays {1} instead of {2}, with coupon {3}.', '{0} 使用优惠券 {3} 支付 {1}，原价 {2}。'],
  tell_refund: ['{0} of entry {1} goes back to {2}.', '流水 {1} 的 {0} 退回 {2}。'],
  tell_grant: ['{0} gets a coupon: {1}.', '{0} 获得优惠券：{1}。'], tell_claim: ['{0} gets the coupon of the code {1}.', '{0} 领取券码 {1} 的优惠券。'],
  tell_hold: ['{1} of {0} is reserved for {2}.', '为 {2} 预留 {0} 的 {1}。'],
  tell_capture: ['{0} of hold {1} goes to {2}.', '预留 {1} 的 {0} 付给 {2}。'],
  tell_void: ['{0} of hold {1} goes back to {2}.', '预留 {1} 的 {0} 退回 {2}。'],
  tell_freeze: ['Money may come into the wallet of {0}; none goes out.', '{0} 的钱包可以收款，不能付款。'],
  tell_unfreeze: ['The wallet of {0} pays again.', '{0} 的钱包恢复付款。'], tell_set: ['The wallet of {0} changes:', '{0} 的钱包将变更：'],
  tell_revoke: ['{0} loses the lock {1}.', '{0} 失去锁 {1}。'], tell_token_revoke: ['{0} stops working at once.', '{0} 立即失效。'],
  tell_revoke_more: ['What it writes under fence {0} from now on is refused. Others may take the lock {1} s later.',
    '此后栅栏号 {0} 的写入都会被拒绝。{1} 秒后其他人可取得此锁。'],
  own_token: ['It is the access token of this page, which then ends here.', '这是本页使用的访问令牌，撤销后此页即退出。'],
  tell_mint: ['A new access token: {0}.', '新的访问令牌：{0}。'], will_earn: ['Earns a coupon: {0}.', '将获得优惠券：{0}。'],
  too_much: ['More than {0} has: it will be refused.', '超出 {0} 的余额，将被拒绝。'], would_refuse: ['As it is now, it will be refused:', '目前将被拒绝：'],
  has_lock: ['{0} has its lock: this waits up to 5 s.', '{0} 持有此锁：最多等待 5 秒。'], another: ['Another client', '其他客户端'],
  holds_lock: ['{0} holds the lock, for {1} at most.', '{0} 持有此锁，最多 {1}。'], busy: ['Busy', '繁忙'], try_in: ['Try again in {0} s', '{0} 秒后可重试'],
  once: ['One press or two, it happens once.', '多次点击也只执行一次。'],
  lost: ['No answer came. It may have happened or not: trying again is safe, it is the same request.',
    '未收到应答，可能已执行也可能未执行：重试是安全的，请求相同。'],
  lost_keyless: ['No answer came. Close this and look at the list before you try again.', '未收到应答。请先关闭并查看列表，再决定是否重试。'],
  earned: ['Earned coupon {0}', '获得优惠券 {0}'], balance_now: ['Balance of {0}: {1}', '{0} 余额：{1}'],
  amount_form: ['Write an amount as 12.50: from 0.01 to 1000000000000.00, two decimals at most.',
    '金额格式如 12.50：0.01 至 1000000000000.00，最多两位小数。'],
  no_user: ['Write a user.', '请填写用户。'], a_number: ['Write a whole number.', '请填写整数。'], nothing_changed: ['Nothing is changed.', '没有更改。'],
  // Coupons
  kinds: ['Kinds', '种类'], tiers: ['Recharge tiers', '充值档位'], off: ['Off', '减'], percent: ['Percent off', '折扣 %'], from: ['From', '起'],
  threshold: ['Threshold', '门槛'], single: ['Once', '一次性'], earns: ['Earns kind', '获得种类'], save: ['Save', '保存'], add: ['Add a row', '添加一行'],
  earned_en: ['What a customer reads (en)', '客户看到的文字（英）'], earned_zh: ['… (zh)', '客户看到的文字（中）'], remove: ['Remove this row', '删除此行'],
  tell_save: ['{0} rows apply from now on.', '共 {0} 行，即刻生效。'], row_new: ['New: {0}', '新增：{0}'], row_changed: ['Changed: {0}', '修改：{0}'],
  row_gone: ['Removed: {0}', '删除：{0}'], keep_terms: ['Coupons already given keep the terms they were given under.', '已发放的优惠券保持发放时的条款。'],
  look_up: ['Look a code up', '查询券码'], quote: ['What would it cost?', '试算价格'], no_coupons: ['No coupons.', '没有优惠券。'],
  off_amount: ['{0} off', '减 {0}'], off_percent: ['{0} % off', '减 {0}%'], from_amount: ['from {0}', '满 {0}'], for_life: ['for life', '终身'],
  at_most: ['at most {0}', '最多 {0}'], until_day: ['until {0}', '至 {0}'], grant: ['Grant a coupon', '发放优惠券'], claim: ['Enter a code', '输入领取码'],
  more_terms: ['Dates, limits, claim code', '日期、限量与领取码'], max_off: ['Most it takes off', '最多减'], valid_days: ['Valid for days', '有效天数'],
  valid_from: ['Given from', '发放起'], valid_until: ['Ends at', '截止'], limit_total: ['Limit in all', '总限量'],
  limit_per_user: ['Limit per user', '每人限量'], claim_code: ['Claim code', '领取码'], faster: ['Another editor was faster.', '其他人先保存了更改。'],
  // Locks and tokens
  find_lock: ['Id begins with …', '编号开头…'], no_locks: ['No lock is held.', '当前没有锁。'], events: ['What happened to it', '历史事件'],
  all_events: ['What happened', '最近事件'], revoke: ['Revoke', '撤销'], why: ['Reason', '原因'], no_reason: ['Write a reason.', '请填写原因。'],
  waits: ['waits', '等待中'], delay: ['Others wait (s)', '他人等待（秒）'], lock_free: ['Lock: free', '锁：空闲'],
  lock_held: ['Locked by {0}, fence {1}', '被 {0} 锁定，栅栏号 {1}'],
  lock_changed: ['Another client has it now; it is read again.', '现由其他客户端持有，已重新读取。'],
  mint: ['Mint an access token', '创建访问令牌'], mint_one: ['Mint', '创建'], copy: ['Copy', '复制'], copied: ['Copied', '已复制'], never: ['never', '永不'],
  shown_once: ['This is shown once. Only its hash is kept.', '仅显示一次，系统只保存其哈希。'], no_tokens: ['No access tokens.', '没有访问令牌。'],
  // Health
  server: ['Server', '服务器'], verify: ['Audit the file', '审计文件'], run_verify: ['Run the audit', '运行审计'],
  clean: ['Clean: {0} entries, {1} wallets, every hash and balance as it must be.', '无误：{0} 笔流水，{1} 个钱包，哈希与余额全部一致。'],
  findings: ['{0} findings', '{0} 个问题'], last_hash: ['Last hash', '最新哈希'],
  verify_hint: ['Reads everything again while the server goes on.', '服务器运行中重新读取全部数据。'], backup: ['Backup', '备份'],
  backup_hint: ['One moment of the file, audited, as a database: about {0}.', '某一时刻的完整数据库文件，已审计：约 {0}。'], download: ['Download', '下载'],
  figures: ['Figures since {0}', '{0} 以来的指标'], version: ['Version', '版本'], queued: ['Commands queued', '排队命令'],
  waiting: ['Requests that wait', '等待中的请求'], good_requests: ['Requests answered', '已应答请求'], file_size: ['Size of the file', '文件大小'],
  refused_requests: ['Requests refused (4xx)', '被拒请求（4xx）'], failed_requests: ['Requests failed (5xx)', '失败请求（5xx）'],
  commands: ['Commands', '命令'], commits: ['Commits', '提交'], replays: ['Answers repeated under a key', '按幂等键重复应答'],
  lock_waits: ['Waits for a lock', '等锁次数'], takeovers: ['Dead leases taken over', '接管过期租约'], log: ['Write-ahead log', '预写日志'],
  free_bytes: ['Free on the disk', '磁盘剩余'], journal: ['Journal', '日志'], what: ['What', '事项'], subject: ['Of', '对象'],
  // Frame
  sign_in: ['Access token', '访问令牌'], open_it: ['Open', '打开'], forget: ['Forget token', '清除令牌'], theme: ['Theme', '主题'],
  sign_hint: ['Paste an access token (cbx_…). It stays in this tab and is forgotten when the tab closes.',
    '粘贴访问令牌（cbx_…）。仅保存在此标签页，关闭即清除。'],
  sign_where: ['Lost? On the server’s machine, “cashbox token create --role admin” mints another.',
    '遗失了？在服务器上运行 “cashbox token create --role admin” 可再创建。'],
  bad_token: ['This access token is not accepted (any more).', '此访问令牌无效或已失效。'],
  is_open: ['Open to every local account: no tokens', '对本机开放：无需令牌'],
  no_server: ['The server does not answer. Trying again …', '服务器无应答，正在重试…'],
  clock_off: ['The clock of this device is off by {0}; days and times are the server’s.', '本机时钟相差 {0}；日期与时间以服务器为准。'],
  keys: ['Keys', '按键'], keys_on: ['Single keys are on', '单键已开启'], keys_off: ['Single keys are off', '单键已关闭'],
  key_views: ['1 … 7  the views', '1 … 7  切换视图'], key_find: ['/  find', '/  查找'],
  key_rows: ['↑ ↓  rows, Enter opens', '↑ ↓ 选择行，Enter 打开'], key_esc: ['Esc  close, go back', 'Esc  关闭'],
};

/** Keeps a setting of this browser; undefined reads it. Never the access token. */
export function stored(name, value) {
  try {
    if (value === undefined) return localStorage.getItem(name);
    localStorage.setItem(name, value);
  } catch { /* a private window keeps nothing */ }
  return null;
}

export let language = stored('language') ?? (navigator.language.startsWith('zh') ? 'zh' : 'en');
export function switchLanguage() {
  language = language === 'zh' ? 'en' : 'zh';
  stored('language', language);
}

export function t(name, ...args) {
  const text = WORDS[name]?.[language === 'zh' ? 1 : 0] ?? name;
  if (!args.length) return text;
  const parts = text.split(/\{(\d)\}/).map((part, at) => (at % 2 ? args[part] : part));
  if (!args.some((arg) => arg instanceof Node)) return parts.join('');
  const line = document.createElement('span');
  line.append(...parts);
  return line;
}
