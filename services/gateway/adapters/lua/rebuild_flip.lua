-- Reads the last records, and puts the new sums in the place of those in use. Days before the first one are moved as they are.
-- Answers {'DONE', records, the first day with new sums}; {'BEHIND'} where there were `limit` records to read; {'LOST'}
-- where some went before they were read, or what was made so far did.
local own, limit = ARGV[1], tonumber(ARGV[2])

if not days_made(own) then return {'LOST'} end
if add_records(own, limit) == limit then return {'BEHIND'} end
local read, missing, first = unpack(redis.call('HMGET', rebuild_key(own), 'records', 'missing', 'first'))
if record_counts() ~= tonumber(read) + tonumber(missing) then return {'LOST'} end

local made_days, days = days_made(own), {}
local in_use = redis.call('GET', generation) or '0'
for ago = -1, KEEP_USAGE_DAYS + 1 do days[day_of(now_s - ago * DAY_S)] = true end
for day in pairs(made_days) do days[day] = true end
local first_made = ''
for day in pairs(days) do
  local before = usage_name(in_use, day)
  local remove_s = redis.call('ZSCORE', periods, before) or whole((math.floor(now_s / DAY_S) + KEEP_USAGE_DAYS + 1) * DAY_S)
  if made_days[day] then
    redis.call('PERSIST', usage_key(own, day))
    if first_made == '' or day < first_made then first_made = day end
  elseif day < first and redis.call('EXISTS', usage_key(in_use, day)) == 1 then
    redis.call('RENAME', usage_key(in_use, day), usage_key(own, day))
  end
  redis.call('UNLINK', usage_key(in_use, day))
  redis.call('ZREM', periods, before)
  if redis.call('EXISTS', usage_key(own, day)) == 1 then redis.call('ZADD', periods, remove_s, usage_name(own, day)) end
end
redis.call('SET', generation, own)
redis.call('UNLINK', rebuild_key(own))
return {'DONE', tonumber(read), first_made}
