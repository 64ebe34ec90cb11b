-- Versions whose writer did not come back become garbage; of what is due, the first entries are handed out, and again after
-- `lease_ms` unless they are removed: whoever was to take them away may have died.
local pending, garbage = unpack(KEYS)
local limit, lease_ms, grace_ms = unpack(ARGV)

local now = now_ms()
for _, member in ipairs(redis.call('ZRANGEBYSCORE', pending, '-inf', now, 'LIMIT', 0, limit)) do
  redis.call('ZREM', pending, member)
  redis.call('ZADD', garbage, now + grace_ms, member)
end
local due = redis.call('ZRANGEBYSCORE', garbage, '-inf', now, 'LIMIT', 0, limit)
for _, member in ipairs(due) do redis.call('ZADD', garbage, now + lease_ms, member) end
return due
