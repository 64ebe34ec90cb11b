-- Put before each script that answers a request once. The ledger's key holds the fingerprint of the request (64 characters)
-- and its first answer. An empty fingerprint: the request has no id.
local LEDGER_TTL_MS = 24 * 3600 * 1000

-- What an earlier call with the same id makes of this one, or nil.
local function earlier(key, fingerprint)
  if fingerprint == '' then return nil end
  local entry = redis.call('GET', key)
  if not entry then return nil end
  if string.sub(entry, 1, 64) == fingerprint then return {'AGAIN', string.sub(entry, 65)} end
  return {'REUSED'}
end

-- Keeps the answer for calls that come again, and returns it.
local function answered(key, fingerprint, answer)
  if fingerprint ~= '' then redis.call('SET', key, fingerprint .. answer, 'PX', LEDGER_TTL_MS) end
  return {'OK', answer}
end

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
