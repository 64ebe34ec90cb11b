-- Keeps an answer and lets those who wait for it look again. KEYS: answer, flight.
local answer, flight = unpack(KEYS)
local body, depends, ttl_ms, stale_ms = unpack(ARGV)

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('DEL', answer, flight)
redis.call('HSET', answer, 'body', body, 'depends', depends, 'made_ms', now_ms, 'fresh_ms', now_ms + ttl_ms)
redis.call('PEXPIRE', answer, ttl_ms + stale_ms)
