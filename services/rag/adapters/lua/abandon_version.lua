local pending, garbage = unpack(KEYS)
local member, grace_ms = unpack(ARGV)

if redis.call('ZREM', pending, member) == 1 then redis.call('ZADD', garbage, now_ms() + grace_ms, member) end
return {'OK'}
