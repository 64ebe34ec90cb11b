-- Reads the next records. Answers how many; -1 where what was made so far is gone.
local own, limit = ARGV[1], ARGV[2]

if not days_made(own) then return -1 end
return add_records(own, limit)
