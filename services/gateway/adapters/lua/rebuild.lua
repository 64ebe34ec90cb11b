-- What the scripts of a rebuild share; before it stands the ledger's account.lua. A rebuild has a generation of its own, so
-- that several may run beside each other. Until it takes the place of the sums in use, what it made has an expiry: of one
-- that is broken off nothing stays.
--
-- The hash of a rebuild:
--   records   how many were read
--   last      the id of the last of these
--   missing   how many the stream had lost before the first
--   first     the first day that is made again: of it and all later ones every record is kept
--   d:DAY     a day that has sums
local LEASE_S = 3600

local records, generation = prefix .. ':records', prefix .. ':generation'
local function rebuild_key(own) return prefix .. ':rebuild:' .. own end
local function usage_name(own, day) return 'usage:' .. own .. ':' .. day end
local function usage_key(own, day) return prefix .. ':' .. usage_name(own, day) end

-- An entry of the stream as a table.
local function fields_of_entry(entry)
  local fields = {}
  for i = 1, #entry[2], 2 do fields[entry[2][i]] = entry[2][i + 1] end
  return fields
end

-- How many records were ever written, and how many are kept.
local function record_counts()
  if redis.call('EXISTS', records) == 0 then return 0, 0 end
  local info, told = redis.call('XINFO', 'STREAM', records), {}
  for i = 1, #info, 2 do told[info[i]] = info[i + 1] end
  return told['entries-added'], told['length']
end

-- The days that have sums; nil where Redis has evicted some of what was made.
local function days_made(own)
  local days, fields = {}, redis.call('HGETALL', rebuild_key(own))
  if #fields == 0 then return nil end
  for i = 1, #fields, 2 do
    local day = string.match(fields[i], '^d:(%d+)$')
    if day then
      if redis.call('EXISTS', usage_key(own, day)) == 0 then return nil end
      days[day] = true
    end
  end
  return days
end

-- Adds a record to the sums, as account.lua's `append` does.
local function add_record(own, record)
  local usage = usage_key(own, record.day)
  local field = quoted(record.key) .. '|' .. quoted(record.model) .. '|' .. quoted(record.method) .. '|'
  if record.execution ~= '' then redis.call('HINCRBY', usage, field .. 'executions', 1) end
  redis.call('HINCRBY', usage, field .. 'input_tokens', record.input)
  redis.call('HINCRBY', usage, field .. 'output_tokens', record.output)
  redis.call('HINCRBY', usage, field .. 'cost_nanos', record.cost)
end

-- Reads the next records, at most `limit`, in their order. How many there were.
local function add_records(own, limit)
  local rebuild, touched = rebuild_key(own), {}
  local last, first = unpack(redis.call('HMGET', rebuild, 'last', 'first'))
  local entries = redis.call('XRANGE', records, last == '' and '-' or '(' .. last, '+', 'COUNT', limit)
  for _, entry in ipairs(entries) do
    local record = fields_of_entry(entry)
    last = entry[1]
    if record.day >= first then
      add_record(own, record)
      touched[record.day] = true
    end
  end
  for day in pairs(touched) do
    redis.call('HSET', rebuild, 'd:' .. day, '')
    redis.call('EXPIRE', usage_key(own, day), LEASE_S)
  end
  redis.call('HSET', rebuild, 'last', last)
  redis.call('HINCRBY', rebuild, 'records', #entries)
  return #entries
end
