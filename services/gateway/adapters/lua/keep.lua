-- Keeps an answer, where the tenant has room for it, and lets those who wait for it look again. KEYS: answer, flight, the bytes
-- that the tenant kept lately: a count that ends when the first of them has, so at most twice as many are there at a time.
local answer, flight, lately = unpack(KEYS)
local body, depends, ttl_ms, stale_ms, most_bytes = unpack(ARGV)

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('DEL', answer, flight)
if (redis.call('GET', lately) or 0) + #body > tonumber(most_bytes) then return 0 end
redis.call('SET', lately, 0, 'NX', 'PX', ttl_ms + stale_ms)
redis.call('INCRBY', lately, #body)
redis.call('HSET', answer, 'body', body, 'depends', depends, 'made_ms', now_ms, 'fresh_ms', now_ms + ttl_ms)
redis.call('PEXPIRE', answer, ttl_ms + stale_ms)
return 1
