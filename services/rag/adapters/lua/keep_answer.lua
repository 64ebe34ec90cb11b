local request = KEYS[1]
local fingerprint, answer = unpack(ARGV)

return earlier(request, fingerprint) or answered(request, fingerprint, answer)
