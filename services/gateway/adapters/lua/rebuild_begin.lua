-- Begins a rebuild. Answers its generation.
--
-- Where records are gone, the day in which the first one that is kept was written may lack some: the next day is the first
-- that is made again. No record is of a later day than the one it is written in.
local own = redis.call('INCR', prefix .. ':rebuilds')
local added, length = record_counts()
local first = '99999999'
if length > 0 then
  local entry = redis.call('XRANGE', records, '-', '+', 'COUNT', 1)[1]
  if added > length then
    first = day_of(math.floor(tonumber(string.match(entry[1], '^%d+')) / 1000) + DAY_S)
  else
    first = fields_of_entry(entry).day
  end
end
redis.call('HSET', rebuild_key(own), 'records', 0, 'last', '', 'missing', added - length, 'first', first)
redis.call('EXPIRE', rebuild_key(own), LEASE_S)
return own
