// The words in Chinese, by the keys of `words.js`. Fetched only by a page that is read in Chinese.

export const CHINESE = {
  // Views and figures
  today: '今日', wallets: '钱包', wallet: '钱包', entries: '流水', coupons: '优惠券', locks: '锁', tokens: '令牌', health: '状态', views: '视图',
  skip: '跳到内容', takings: '营收', recharged: '充值', withdrawn: '提现', refunds: '退款', customers_hold: '客户余额', in_wallets: '全部钱包，此刻',
  takings_why: '{0} 笔支付，已扣除退款', count: '{0} 笔', count_one: '1 笔', last_week: '上周同期 {0}', day: '日', week: '7 天', month: '30 天',
  earlier: '更早', later: '更晚', per_hour: '每小时{0}', per_day: '每日{0}', as_table: '以表格显示', as_chart: '以图表显示', newest: '最新流水',
  live: '实时', paused: '已暂停', nothing_yet: '暂无数据。',
  // Columns and fields
  time: '时间', kind: '类型', from_to: '付款方 → 收款方', amount: '金额', balance: '余额', held: '预留中', user: '用户', last_at: '最近活动',
  reference: '参考号', after: '之后余额', id: '编号', role: '角色', note: '备注', created: '创建', expires: '到期', last_used: '最近使用',
  state: '状态', holder: '持有者', fence: '栅栏号', queue: '排队', left: '剩余时间', coupon: '优惠券', gross: '原价', by: '操作者', hash: '哈希',
  metadata: '元数据', code: '券码', to: '收款方', needed: '需要', name: '姓名', status: '状态', optional: '可选', event: '事件',
  terms: '条款', now: '现在', then: '之后',
  prefix: '锁的开头', pick_lock: '选择一个锁查看其事件。',
  // Kinds, verbs, states
  recharge: '充值', withdraw: '提现', pay: '支付', transfer: '转账', refund: '退款', hold: '预留', capture: '扣款', release: '释放',
  void: '取消预留', open: '正常', frozen: '已冻结', closed: '已关闭', captured: '已扣款', voided: '已取消', expired: '已过期', reserved: '已预留',
  revoked: '已撤销', usable: '可用', used: '已使用', taken_back: '已收回', grace: '宽限', stale: '过期', resting: '静置', pending: '未结', free: '空闲',
  is_held: '持有', released: '已释放', taken_over: '被接管', granted: '已获取',
  // Wallets
  all_kinds: '全部类型', search_wallet: '用户名或姓名的开头…', sort: '排序', by_name: '按用户名', by_balance: '余额最多', no_wallets: '没有以“{0}”开头的钱包。',
  first_wallet: '首次充值即创建钱包。', history: '历史', balance_over: '最近 30 天余额', newest_of: '最新 {0} 笔', more: '更多', end: '已全部显示。',
  no_entries: '没有符合条件的流水。', no_wallet: '{0} 还没有钱包，首次充值即创建。', settings: '设置', edit: '编辑', freeze: '冻结', unfreeze: '解冻',
  per_payment: '单笔上限', per_day_limit: '每日上限 (UTC)', unlimited: '不限', spent_today: '今日已用', holds: '预留', no_holds: '没有预留。',
  final: '余额', rest_back: '退回', rest_stays: '继续预留', hours: '有效小时数',
  // Entries
  find_entry: '参考号、流水编号或 键=值', since: '起', until: '止', find: '查找', csv: 'CSV', entry: '流水 {0}', refunds_of_it: '退款记录',
  refunds_entry: '是流水 {0} 的退款', none_refunded: '尚未退款。', refundable: '还可退款 {0}', balances_after: '之后的余额', hold_number: '预留 {0}',
  // Dialogs
  review: '继续', back: '返回', cancel: '取消', close: '关闭', again: '重试', done: '已完成', read_again: '重新读取',
  tell_recharge: '{0} 收到 {1}。', tell_withdraw: '{0} 提取 {1}。', tell_pay: '{0} 支付 {1}。', tell_transfer: '{0} 转给 {2} {1}。',
  tell_pay_coupon: '{0} 使用优惠券 {3} 支付 {1}，原价 {2}。', tell_refund: '流水 {1} 的 {0} 退回 {2}。', tell_grant: '{0} 获得优惠券：{1}。',
  tell_claim: '{0} 领取券码 {1} 的优惠券。', tell_hold: '为 {2} 预留 {0} 的 {1}。', tell_capture: '预留 {1} 的 {0} 付给 {2}。',
  tell_void: '预留 {1} 的 {0} 退回 {2}。', tell_freeze: '{0} 的钱包可以收款，不能付款。', tell_unfreeze: '{0} 的钱包恢复付款。', tell_set: '{0} 的钱包将变更：',
  tell_revoke: '{0} 失去锁 {1}。', tell_unrest: '锁 {0} 不再静置，任何客户端都可以获取。', tell_token_revoke: '{0} 立即失效。', tell_revoke_more: '此后栅栏号 {0} 的写入都会被拒绝。{1} 秒后其他人可取得此锁。',
  own_token: '这是本页使用的访问令牌，撤销后此页即退出。', tell_mint: '新的访问令牌：{0}。', will_earn: '将获得优惠券：{0}。', too_much: '超出 {0} 的余额，将被拒绝。',
  would_refuse: '目前将被拒绝：', has_lock: '{0} 持有此锁：最多等待 5 秒。', another: '其他客户端', holds_lock: '{0} 持有此锁，最多 {1}。', busy: '繁忙',
  try_in: '{0} 秒后可重试', once: '多次点击也只执行一次。', lost: '未收到应答，可能已执行也可能未执行：重试是安全的，请求相同。', lost_keyless: '未收到应答。请先关闭并查看列表，再决定是否重试。',
  earned: '获得优惠券 {0}', balance_now: '{0} 余额：{1}', amount_form: '金额格式如 12.50：0.01 至 1000000000000.00，最多两位小数。', no_user: '请填写用户。',
  a_number: '请填写整数。', nothing_changed: '没有更改。',
  // Coupons
  kinds: '种类', tiers: '充值档位', off: '减', percent: '折扣 %', from: '起', threshold: '门槛', single: '一次性', earns: '获得种类', save: '保存',
  add: '添加一行', earned_en: '客户看到的文字（英）', earned_zh: '客户看到的文字（中）', remove: '删除此行', tell_save: '共 {0} 行，即刻生效。', row_new: '新增：{0}',
  row_changed: '修改：{0}', row_gone: '删除：{0}', keep_terms: '已发放的优惠券保持发放时的条款。', look_up: '查询券码', quote: '试算价格',
  no_coupons: '没有优惠券。', off_amount: '减 {0}', off_percent: '减 {0}%', from_amount: '满 {0}', for_life: '终身', at_most: '最多 {0}',
  until_day: '至 {0}', grant: '发放优惠券', claim: '输入领取码', more_terms: '日期、限量与领取码', max_off: '最多减', valid_days: '有效天数',
  valid_from: '发放起', valid_until: '截止', limit_total: '总限量', limit_per_user: '每人限量', claim_code: '领取码', faster: '其他人先保存了更改。',
  // Locks and tokens
  find_lock: '编号开头…', no_locks: '当前没有锁。', events: '历史事件', all_events: '最近事件', revoke: '撤销', why: '原因', no_reason: '请填写原因。',
  waits: '等待中', delay: '他人等待（秒）', lock_free: '锁：空闲', lock_held: '被 {0} 锁定，栅栏号 {1}', lock_changed: '现由其他客户端持有，已重新读取。',
  mint: '创建访问令牌', mint_one: '创建', copy: '复制', copied: '已复制', never: '永不', shown_once: '仅显示一次，系统只保存其哈希。', no_tokens: '没有访问令牌。',
  // Health
  server: '服务器', verify: '审计文件', run_verify: '运行审计', clean: '无误：{0} 笔流水，{1} 个钱包，哈希与余额全部一致。', findings: '{0} 个问题',
  last_hash: '最新哈希', verify_hint: '服务器运行中重新读取全部数据。', backup: '备份', backup_hint: '某一时刻的完整数据库文件，已审计：约 {0}。', download: '下载',
  figures: '{0} 以来的指标', version: '版本', queued: '排队命令', waiting: '等待中的请求', good_requests: '已应答请求', file_size: '文件大小',
  refused_requests: '被拒请求（4xx）', failed_requests: '失败请求（5xx）', commands: '命令', commits: '提交', replays: '按幂等键重复应答',
  lock_waits: '等锁次数', takeovers: '接管过期租约', log: '预写日志', free_bytes: '磁盘剩余', journal: '日志', what: '事项', subject: '对象', token: '令牌', minted: '签发', rotated: '轮换', adopted: '沿用', set: '修改', claimed: '领取', upgraded: '升级',
  imported: '导入', restored: '恢复',
  // Frame
  sign_in: '访问令牌', open_it: '打开', forget: '清除令牌', theme: '主题', sign_hint: '粘贴访问令牌（cbx_…）。仅保存在此标签页，关闭即清除。',
  sign_where: '遗失了？在服务器上运行 “cashbox token create --role admin” 可再创建。', bad_token: '此访问令牌无效或已失效。', is_open: '对本机开放：无需令牌',
  no_server: '服务器无应答。', trying: '正在重试…', clock_off: '本机时钟相差 {0}；日期与时间以服务器为准。', keys: '按键', keys_on: '单键已开启', keys_off: '单键已关闭',
  key_views: '1 … 7  切换视图', key_find: '/  查找', key_rows: '↑ ↓ 选择行，Enter 打开', key_esc: 'Esc  关闭',
};
