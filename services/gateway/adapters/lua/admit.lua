-- One call's admission, all or nothing: nothing is written before everything has been looked at, but for the ends of old leases.
-- KEYS: the prefix of the ledger's keys, the tenant's stamps. Answers begin with how many leases were charged as reserved, then
-- the state; those of calls that were counted or refused by a limit go on with limit, remaining and reset (ms), '' without one.
local stamps = KEYS[2]
local SWEPT = 16
local BUCKETS = 60
local MOST_UNPACKED = 1000

local at = 0
local function take(count)
  at = at + count
  return unpack(ARGV, at - count + 1, at)
end
local id, key, method, group, lease_ms = take(5)
local name, max_age_ms, stale, leads, flight_ms = take(5)
local worst_input, worst_output, dear_input, dear_output, prices, patient = take(6)

-- Takes the calls that no longer count out of a window.
local function leave_behind(window)
  local from, now = window.first, window.now
  local buckets = {}
  for bucket = from, math.min(from + BUCKETS, now) do buckets[#buckets + 1] = whole(bucket) end
  window.first = now
  for i, count in ipairs(redis.call('HMGET', window.key, unpack(buckets))) do
    if count and from + i - 1 >= now - BUCKETS then
      window.first = from + i - 1
      return
    elseif count then
      window.sum = window.sum - count
      window.gone[#window.gone + 1] = buckets[i]
    end
  end
end

-- A window of calls: the calls of each sub-bucket, their sum, the oldest one with calls and the newest. A call counts until the
-- window has passed since the end of its sub-bucket, so never are more than `limit` within any window, and one counts for at
-- most a sub-bucket longer. At most 61 sub-buckets count; they are read only when the oldest of them no longer does.
local function read_window(scope, limit, length_ms)
  local window = {key = prefix .. ':rate:' .. scope, limit = limit, length_ms = length_ms, gone = {}}
  local now = math.floor(now_ms * BUCKETS / length_ms)
  local sum, first, last, count = unpack(redis.call('HMGET', window.key, 'sum', 'first', 'last', whole(now)))
  if tonumber(last or 0) > now then
    -- Redis' clock stepped back: calls count in the newest sub-bucket until it has passed again, and none is forgotten.
    now = tonumber(last)
    count = redis.call('HGET', window.key, last)
  end
  window.now, window.count, window.sum, window.first = now, tonumber(count or 0), tonumber(sum or 0), tonumber(first or now)
  if window.first < now - BUCKETS then leave_behind(window) end
  return window
end

-- How long until the calls of a sub-bucket no longer count.
local function leaves_ms(window, bucket)
  return math.max(math.ceil((bucket + BUCKETS + 1) * window.length_ms / BUCKETS) - now_ms, 1)
end

-- How long until a full window has room for one more.
local function room_ms(window)
  local sum = window.sum
  for bucket = window.first, window.now do
    sum = sum - (redis.call('HGET', window.key, whole(bucket)) or 0)
    if sum < window.limit then return leaves_ms(window, bucket) end
  end
  return window.length_ms
end

local function count_call(window)
  if #window.gone > 0 then redis.call('HDEL', window.key, unpack(window.gone)) end
  redis.call('HSET', window.key, whole(window.now), window.count + 1, 'sum', window.sum + 1, 'first', whole(window.first), 'last',
    whole(window.now))
  if window.count == 0 then redis.call('PEXPIRE', window.key, math.ceil(window.length_ms * (BUCKETS + 2) / BUCKETS)) end
end

-- A kept answer of which everything that it depends on is as it was, or nil; the models' stamps are the gateway's to compare.
local function kept_answer()
  local body, made, fresh, depends = unpack(redis.call('HMGET', prefix .. ':answer:' .. name, 'body', 'made_ms', 'fresh_ms', 'depends'))
  if not body then return nil end
  local age_ms = math.max(now_ms - made, 0)
  if stale ~= '1' and (now_ms >= tonumber(fresh) or age_ms > tonumber(max_age_ms)) then return nil end
  local models = {}
  for stamp, value in pairs(cjson.decode(depends)) do
    if string.sub(stamp, 1, 6) == 'model/' then
      models[#models + 1] = stamp
      models[#models + 1] = value
    elseif (redis.call('HGET', stamps, stamp) or '') ~= value then
      return nil
    end
  end
  return {body, math.floor(age_ms / 1000), models}
end

-- Most tokens that what is left of a budget pays for, whichever they are.
local function most_tokens(budget, left, money, dearest)
  if budget.unit == 'tokens' then return left end
  return left >= money and math.huge or math.floor(left / dearest)
end

-- Looks at the budgets: most tokens that the call may use, and the money to reserve for them. Or, as the third and further, the
-- budget that refuses it, after how long (ms) another attempt is worth it, and when its period ends. Before all, whether it
-- would be more without what calls under way have reserved and may not use.
local function afford(budgets, sums)
  local dearest = math.max(dear_input, dear_output)
  local allowance, money = worst_input + worst_output, worst_input * dear_input + worst_output * dear_output
  local most_of_all = allowance
  local refused, wait_ms, ends_s = nil, 0, 0
  for _, budget in ipairs(budgets) do
    local used, reserved = sums[budget.period][budget.place], sums[budget.period][budget.place + 1]
    local most = most_tokens(budget, budget.limit - used - reserved, money, dearest)
    local unreserved = most_tokens(budget, budget.limit - used, money, dearest)
    if most < 1 then
      local ends = budget.period == 'month' and month_start(now_s, 1) or (math.floor(now_s / DAY_S) + 1) * DAY_S
      local waits = unreserved >= 1 and 1000 or ends * 1000 - now_ms
      if waits > wait_ms then refused, wait_ms, ends_s = budget.name, waits, ends end
    end
    allowance, most_of_all = math.min(allowance, most), math.min(most_of_all, unreserved)
  end
  return math.max(allowance, 0) < most_of_all, allowance, math.min(money, allowance * dearest), refused, wait_ms, ends_s
end

local function read_budgets(count)
  local budgets = {}
  for i = 1, count do
    local budget, limit = take(2)
    local scope, period, unit = string.match(budget, '^(%a+)/(%a+)/(%a+)$')
    budgets[i] = {name = budget, limit = tonumber(limit), period = period, unit = unit,
      place = (scope == 'key' and 5 or 1) + (unit == 'money' and 2 or 0)}
  end
  return budgets
end

local function reserve(fields, sums, day, month, tokens, money)
  local changes = {0, tokens, 0, money}
  add_sums(day, fields, sums.day, changes)
  add_sums(month, fields, sums.month, changes)
  redis.call('HSET', call_key(id), 'key', key, 'method', method, 'group', group, 'day', day, 'month', month, 'prices', prices,
    'tokens', whole(tokens), 'money', whole(money), 'running', 0)
  redis.call('ZADD', leases, now_ms + lease_ms, id)
end

-- Whether the prices are known; those that are sent along are then. Versions that are no longer in use go after two days.
local function know_prices(count)
  local current = redis.call('GET', prefix .. ':prices')
  if current == prices then return true end
  local table_key = prefix .. ':prices:' .. prices
  for taken = 0, count - 1, MOST_UNPACKED do redis.call('HSET', table_key, take(math.min(MOST_UNPACKED, count - taken))) end
  if redis.call('EXISTS', table_key) == 0 then return false end
  if current then redis.call('EXPIRE', prefix .. ':prices:' .. current, KEEP_DAYS * DAY_S) end
  redis.call('PERSIST', table_key)
  redis.call('SET', prefix .. ':prices', prices)
  return true
end

local limits, budgets_count, prices_count = take(3)
local _, lapsed = end_leases(SWEPT)
if redis.call('EXISTS', call_key(id)) == 1 then return {lapsed, 'GONE'} end

local windows, nearest = {}, {'', '', ''}
local refused, refused_ms = nil, 0
for i = 1, tonumber(limits) do
  local limit_name, scope, limit, length_ms = take(4)
  local window = read_window(scope, tonumber(limit), tonumber(length_ms))
  local left = window.limit - window.sum - 1
  windows[i] = window
  if left < 0 then
    local wait_ms = room_ms(window)
    if wait_ms > refused_ms then
      refused, refused_ms = limit_name, wait_ms
      nearest = {window.limit, 0, wait_ms}
    end
  elseif not refused and (nearest[2] == '' or left < nearest[2]) then
    nearest = {window.limit, left, leaves_ms(window, window.first)}
  end
end
if refused then return {lapsed, 'RATE_LIMITED', nearest[1], nearest[2], nearest[3], refused, refused_ms} end

local function counted_as(state, ...)
  for _, window in ipairs(windows) do count_call(window) end
  return {lapsed, state, nearest[1], nearest[2], nearest[3], ...}
end

local flight = name ~= '' and prefix .. ':flight:' .. name
if flight then
  local answer = kept_answer()
  if answer then return counted_as('ANSWERED', unpack(answer)) end
  if leads == '1' and (redis.call('GET', flight) or id) ~= id then return counted_as('WAIT') end
end

local allowance = ''
if worst_input ~= '' then
  local budgets = read_budgets(tonumber(budgets_count))
  if not know_prices(tonumber(prices_count)) then return {lapsed, 'PRICES'} end
  local day, month, fields = day_of(now_s), month_of(now_s), fields_of(key)
  local sums = {day = read_sums(day, fields), month = read_sums(month, fields)}
  local held, tokens, money, budget, wait_ms, ends_s = afford(budgets, sums)
  if held and patient == '1' then return {lapsed, 'HELD', '', '', ''} end
  if budget then return {lapsed, 'BUDGET_EXHAUSTED', '', '', '', budget, wait_ms, ends_s} end
  if #budgets > 0 then allowance = whole(tokens) end
  reserve(fields, sums, day, month, tokens, money)
end
if flight and leads == '1' then redis.call('SET', flight, id, 'PX', flight_ms) end
return counted_as('ADMITTED', allowance)
