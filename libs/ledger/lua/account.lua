-- Put before each script of the ledger. KEYS[1] is the prefix of the tenant's keys; the others are made from it as in keys.py
-- and share its hash tag. Tokens and money (nanos) are whole numbers below 2^53: Lua's numbers are doubles, exact up to there.
--
-- The hash of a call:
--   key, method, group, day, month, prices   as they were when it was admitted; `prices` is a version
--   tokens, money                            what is reserved for it and not used yet
--   lapsed_tokens, lapsed_money              what was charged as if used when its lease ended, and not told of since
--   running                                  how many executions have begun and not ended
--   closed, unseen                           '1' when it has ended; paths under it that are still to tell of an execution
--   settled                                  '1': nothing is reserved any more; the hash goes after a quarter of an hour
--   x:ID                                     an execution: 'begun' or 'ended'
local prefix = KEYS[1]
local SETTLED_TTL_MS = 900 * 1000
local MAX_RECORDS = 200000
local DAY_S = 86400
local KEEP_DAYS, KEEP_MONTHS, KEEP_USAGE_DAYS = 2, 2, 400
local MAX_REMOVED = 10

local time = redis.call('TIME')
local now_s = tonumber(time[1])
local now_ms = now_s * 1000 + math.floor(tonumber(time[2]) / 1000)

local leases = prefix .. ':leases'
local periods = prefix .. ':periods'
local function call_key(id) return prefix .. ':call:' .. id end

-- A whole number for redis.call, which writes all of its digits; Lua's own form (with ..) has 14. Redis knows no -0.
local function whole(number) return number + 0 end

-- Year, month and day of a Unix time in UTC; H. Hinnant, "chrono-compatible low-level date algorithms", civil_from_days.
local function civil(seconds)
  local z = math.floor(seconds / DAY_S) + 719468
  local era = math.floor(z / 146097)
  local doe = z - era * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  local mp = math.floor((5 * doy + 2) / 153)
  local month = mp < 10 and mp + 3 or mp - 9
  return yoe + era * 400 + (month <= 2 and 1 or 0), month, doy - math.floor((153 * mp + 2) / 5) + 1
end

-- Unix time of the first second of a month that is `later` months after that of `seconds`.
local function month_start(seconds, later)
  local day = 0
  for _ = 1, later + 1 do
    local _, _, of_month = civil(seconds)
    day = math.floor(seconds / DAY_S) - of_month + 1
    seconds = (day + 31 + 3) * DAY_S  -- in the month after it, whatever its length: the 1st to the 7th
  end
  return day * DAY_S
end

local function day_of(seconds) return string.format('%04d%02d%02d', civil(seconds)) end
local function month_of(seconds) return string.format('%04d%02d', civil(seconds)) end

-- Remembers that a key of sums was made, and takes away those that are too old. They have no expiry: Redis would evict them.
local function made(name, remove_s)
  redis.call('ZADD', periods, remove_s, name)
  for _, old in ipairs(redis.call('ZRANGEBYSCORE', periods, '-inf', now_s, 'LIMIT', 0, MAX_REMOVED)) do
    redis.call('UNLINK', prefix .. ':' .. old)
    redis.call('ZREM', periods, old)
  end
end

-- The sums of a period for the tenant and one key, in this order: used and reserved tokens, used and reserved money.
local function fields_of(key)
  local scope = 'key/' .. key
  return {'tenant:tokens:used', 'tenant:tokens:reserved', 'tenant:money:used', 'tenant:money:reserved',
    scope .. ':tokens:used', scope .. ':tokens:reserved', scope .. ':money:used', scope .. ':money:reserved'}
end

local function read_sums(period, fields)
  local sums = redis.call('HMGET', prefix .. ':budget:' .. period, unpack(fields))
  sums.new = not (sums[1] or sums[2])
  for i = 1, #fields do sums[i] = tonumber(sums[i] or 0) end
  return sums
end

-- Adds four changes to the sums of the tenant and to those of the key.
local function add_sums(period, fields, sums, changes)
  local update = {}
  for i, field in ipairs(fields) do
    local change = changes[(i - 1) % 4 + 1]
    if change ~= 0 then
      update[#update + 1] = field
      update[#update + 1] = whole(sums[i] + change)
    end
  end
  if #update == 0 then return end
  redis.call('HSET', prefix .. ':budget:' .. period, unpack(update))
  if sums.new then
    -- A period is named by its numbers: 20260131 is a day, 202601 a month.
    local day_past_s = (math.floor(now_s / DAY_S) + KEEP_DAYS + 1) * DAY_S
    made('budget:' .. period, #period == 6 and month_start(now_s, KEEP_MONTHS + 1) or day_past_s)
  end
end

-- A call with what was written of it, and whether `execution` is known; nil where nothing is reserved nor settled.
local NUMBERS = {tokens = true, money = true, lapsed_tokens = true, lapsed_money = true, running = true}
local FIELDS = {'key', 'method', 'day', 'month', 'prices', 'tokens', 'money', 'lapsed_tokens', 'lapsed_money', 'running',
  'closed', 'unseen', 'settled'}
local function load_call(id, execution)
  local values = redis.call('HMGET', call_key(id), 'x:' .. execution, unpack(FIELDS))
  local call = {id = id, execution = values[1], changes = {0, 0, 0, 0}}
  for i, field in ipairs(FIELDS) do
    call[field] = NUMBERS[field] and tonumber(values[i + 1] or 0) or values[i + 1]
  end
  return call.day and call or nil
end

-- Writes down what became of a call, and the changes to its budgets.
local function save_call(call)
  local fields = fields_of(call.key)
  add_sums(call.day, fields, read_sums(call.day, fields), call.changes)
  add_sums(call.month, fields, read_sums(call.month, fields), call.changes)
  local key = call_key(call.id)
  redis.call('HSET', key, 'tokens', whole(call.tokens), 'money', whole(call.money), 'lapsed_tokens', whole(call.lapsed_tokens),
    'lapsed_money', whole(call.lapsed_money), 'running', call.running, 'closed', call.closed or '', 'unseen', call.unseen or '',
    'settled', call.settled or '')
  if call.settled == '1' then
    redis.call('ZREM', leases, call.id)
    redis.call('PEXPIRE', key, SETTLED_TTL_MS)
  end
end

-- Whether an execution is of the call at `path`, or of one under it.
local function under(execution, path)
  local start = string.sub(execution, 1, #path + 1)
  return start == path .. '/' or start == path .. '.'
end

local function quoted(text)
  return (string.gsub(text, '[^%w%-%._~]', function(byte) return string.format('%%%02X', string.byte(byte)) end))
end

-- Appends a record and adds it to the usage of its day. What a lease's end charges has no execution and no model, and is
-- no execution in the sums; what is taken back of that is negative.
local function append(call, execution, model, input, output, cost)
  redis.call('XADD', prefix .. ':records', 'MAXLEN', '~', MAX_RECORDS, '*', 'call', call.id, 'execution', execution, 'key', call.key,
    'method', call.method, 'model', model, 'input', whole(input), 'output', whole(output), 'cost', whole(cost), 'day', call.day)
  local name = 'usage:' .. (redis.call('GET', prefix .. ':generation') or '0') .. ':' .. call.day
  local usage = prefix .. ':' .. name
  local field = quoted(call.key) .. '|' .. quoted(model) .. '|' .. quoted(call.method) .. '|'
  if redis.call('EXISTS', usage) == 0 then made(name, (math.floor(now_s / DAY_S) + KEEP_USAGE_DAYS + 1) * DAY_S) end
  if execution ~= '' then redis.call('HINCRBY', usage, field .. 'executions', 1) end
  redis.call('HINCRBY', usage, field .. 'input_tokens', whole(input))
  redis.call('HINCRBY', usage, field .. 'output_tokens', whole(output))
  redis.call('HINCRBY', usage, field .. 'cost_nanos', whole(cost))
end

-- Nanos for tokens of a model, by a version of the prices; by those in use where that one is not there any more.
local function cost_of(version, model, input, output)
  local prices = redis.call('HMGET', prefix .. ':prices:' .. version, model, '*')
  if not prices[2] then
    prices = redis.call('HMGET', prefix .. ':prices:' .. (redis.call('GET', prefix .. ':prices') or ''), model, '*')
  end
  local per_input, per_output = string.match(prices[1] or prices[2] or '0:0', '(%d+):(%d+)')
  return input * per_input + output * per_output
end

-- What is used is taken from what is reserved; after the lease's end, from what was charged as used then.
local function charge(call, tokens, money)
  local reserved, lapsed = math.min(call.tokens, tokens), math.min(call.lapsed_tokens, tokens)
  local reserved_money, lapsed_money = math.min(call.money, money), math.min(call.lapsed_money, money)
  call.tokens, call.money = call.tokens - reserved, call.money - reserved_money
  call.lapsed_tokens, call.lapsed_money = call.lapsed_tokens - lapsed, call.lapsed_money - lapsed_money
  local changes = call.changes
  changes[1], changes[2] = changes[1] + tokens - lapsed, changes[2] - reserved
  changes[3], changes[4] = changes[3] + money - lapsed_money, changes[4] - reserved_money
  if lapsed + lapsed_money > 0 then append(call, '', '', -lapsed, 0, -lapsed_money) end
end

-- Gives back what is still reserved; nothing is from then on.
local function release(call)
  local changes = call.changes
  changes[2], changes[4] = changes[2] - call.tokens, changes[4] - call.money
  call.tokens, call.money, call.settled = 0, 0, '1'
end

-- Releases the rest of a call when nothing more can come of it. After the lease's end, what was charged as used goes back
-- when the last execution that had begun has told what it used.
local function settle_if_over(call)
  if call.running > 0 then return end
  if call.settled ~= '1' then
    if call.closed == '1' and (call.unseen or '') == '' then release(call) end
  elseif call.lapsed_tokens + call.lapsed_money > 0 then
    local changes = call.changes
    changes[1], changes[3] = changes[1] - call.lapsed_tokens, changes[3] - call.lapsed_money
    append(call, '', '', -call.lapsed_tokens, 0, -call.lapsed_money)
    call.lapsed_tokens, call.lapsed_money = 0, 0
  end
end

-- Ends the leases that are over, at most `limit`. Where an execution has begun and not ended, the rest is charged as used.
-- How many leases ended, and of how many the rest was charged.
local function end_leases(limit)
  local due = redis.call('ZRANGEBYSCORE', leases, '-inf', now_ms, 'LIMIT', 0, limit)
  local charged = 0
  for _, id in ipairs(due) do
    local call = load_call(id, '')
    if not call then
      redis.call('ZREM', leases, id)
    else
      if call.running > 0 then
        charged = charged + 1
        local tokens, money = call.tokens, call.money
        if tokens + money > 0 then
          append(call, '', '', tokens, 0, money)
          call.changes[1], call.changes[3] = tokens, money
          call.lapsed_tokens, call.lapsed_money = tokens, money
        end
      end
      release(call)
      save_call(call)
    end
  end
  return #due, charged
end
