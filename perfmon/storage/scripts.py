"""The scripts that the store runs: each is one step, done whole or not at all, with nothing in between.

A script takes about a microsecond for each key or field that it touches, and the store answers nobody meanwhile; so
the callers give each a bounded number of them.

A window that a tier lacks is a member ``HOST WINDOW`` of ``pm:open:TIER``, by the time it is due. Who claims it moves
that time into the future, by a lease; what was claimed and not done, because its collector died, is due again then. The
time is also the proof of the claim: whoever comes back to find another one has lost it, and changes nothing.
"""

# KEYS: heads. ARGV: TTL (s) of the set of open windows, a head frame, the data of each head, the identity each must
# have (empty: any, or none), the time (s) at which each expires, the time at which each is due to be sealed. A new head
# begins with the frame, gets its TTL, and is put among the open windows. The answer is the identity in the first frame
# of each; it is empty where the head is another one, and nothing was appended.
APPEND = """
local identities = {}
local n = #KEYS
for i = 1, n do
  local identity = redis.call('GETRANGE', KEYS[i], 12, 19)
  local expected = ARGV[n + i + 2]
  if expected ~= '' and identity ~= expected then
    identity = ''
  elseif identity == '' then
    redis.call('SET', KEYS[i], ARGV[2] .. ARGV[i + 2], 'EXAT', ARGV[2 * n + i + 2])
    identity = string.sub(ARGV[2], 13, 20)
    local host, tier, window = string.match(KEYS[i], '^pm:{(.*)}:([^:]*):([^:]*):head$')
    -- samples that come late find their window, which is about to expire
    redis.call('EXPIREAT', string.sub(KEYS[i], 1, -6), ARGV[2 * n + i + 2])
    redis.call('ZADD', 'pm:open:' .. tier, 'NX', ARGV[3 * n + i + 2], host .. ' ' .. window)
    redis.call('EXPIRE', 'pm:open:' .. tier, ARGV[1])
  else
    redis.call('APPEND', KEYS[i], ARGV[i + 2])
  end
  identities[i] = identity
end
return identities
"""

# KEYS: a set of open windows. ARGV: now (s), the time (s) until which they are claimed, at most how many to look at,
# the length (s) of a window of the tier. Claims what is due the longest, with all others of its host that belong to the
# same window of the tier. Returns the members.
CLAIM = """
local claimed, first = {}, nil
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[3])) do
  local host, window = string.match(member, '^(.*) (%d+)$')
  local target = host .. ' ' .. (window - window % ARGV[4])
  first = first or target
  if target == first then
    redis.call('ZADD', KEYS[1], ARGV[2], member)
    claimed[#claimed + 1] = member
  end
end
return claimed
"""

# KEYS: sealing, head, hash. ARGV: 1 to get the hash as well. Takes the head to be sealed, unless one that was taken
# before is still there. Returns what was taken and the fields of the hash.
TAKE = """
if redis.call('EXISTS', KEYS[1]) == 0 and redis.call('EXISTS', KEYS[2]) == 1 then
  redis.call('RENAME', KEYS[2], KEYS[1])
end
return {redis.call('GET', KEYS[1]), ARGV[1] == '1' and redis.call('HGETALL', KEYS[3]) or {}}
"""

# KEYS: open windows of the tier, sealing, head, hash, open windows of the next tier (if there is one). ARGV: member,
# the time until which it was claimed, when it is due again if its head is there again, when it is due again otherwise
# (empty: never), when the next tier is to take it, TTL (s) of the sets, the time (s) at which the hash expires, 1 to
# replace the hash or 0 to add to its fields, then fields and values in turn. Returns 0, and does nothing, without the
# claim.
SEALED = """
local claim = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not claim or tonumber(claim) ~= tonumber(ARGV[2]) then return 0 end
if ARGV[8] == '1' then redis.call('DEL', KEYS[4]) end
for first = 9, #ARGV, 1000 do
  local last = math.min(first + 999, #ARGV)
  if ARGV[8] == '0' then
    local names = {}
    for i = first, last, 2 do names[#names + 1] = ARGV[i] end
    for i, value in ipairs(redis.call('HMGET', KEYS[4], unpack(names))) do
      local place = first + 2 * i - 1
      if value then ARGV[place] = value .. ARGV[place] end
    end
  end
  redis.call('HSET', KEYS[4], unpack(ARGV, first, last))
end
redis.call('DEL', KEYS[2])
local again = redis.call('EXISTS', KEYS[3]) == 1 and ARGV[3] or ARGV[4]
if again == '' then redis.call('ZREM', KEYS[1], ARGV[1]) else redis.call('ZADD', KEYS[1], again, ARGV[1]) end
if redis.call('EXISTS', KEYS[4]) == 1 then
  redis.call('EXPIREAT', KEYS[4], ARGV[7])
  redis.call('ZADD', KEYS[5], ARGV[5], ARGV[1])
  redis.call('EXPIRE', KEYS[5], ARGV[6])
end
return 1
"""

# KEYS: open windows of the tier, its hash, open windows of the next tier (if there is one), then the hashes that were
# rolled up. ARGV: the time until which they were claimed, TTL (s) of the sets, the time (s) at which the hash expires,
# the member to be put among the open windows of the next tier and its time, the revision of the hash from which the
# fields were made (empty: there was none), number of the hashes, for each its member and the time at which it expires
# now, then fields and values in turn. Returns 0, and does nothing, without the claim on all of them, or if somebody
# else has rolled up into the same hash meanwhile; it is then due again at once.
ROLLED = """
local n = tonumber(ARGV[7])
for i = 1, n do
  local claim = redis.call('ZSCORE', KEYS[1], ARGV[6 + 2 * i])
  if not claim or tonumber(claim) ~= tonumber(ARGV[1]) then return 0 end
end
if (redis.call('HGET', KEYS[2], ';revision') or '') ~= ARGV[6] then
  for i = 1, n do redis.call('ZADD', KEYS[1], 0, ARGV[6 + 2 * i]) end
  return 0
end
local from = 8 + 2 * n
if #ARGV >= from then
  redis.call('DEL', KEYS[2])
  for first = from, #ARGV, 1000 do
    redis.call('HSET', KEYS[2], unpack(ARGV, first, math.min(first + 999, #ARGV)))
  end
  redis.call('EXPIREAT', KEYS[2], ARGV[3])
  if ARGV[5] ~= '' then
    redis.call('ZADD', KEYS[3], ARGV[5], ARGV[4])
    redis.call('EXPIRE', KEYS[3], ARGV[2])
  end
end
for i = 1, n do
  redis.call('ZREM', KEYS[1], ARGV[6 + 2 * i])
  redis.call('EXPIREAT', KEYS[3 + i], ARGV[7 + 2 * i])
end
return 1
"""

# ARGV: number of tiers, and of each, coarsest first, its name, the length of its windows (s), the start of the oldest
# and of the newest that there may be (s); from, until (s); number of names, the names; hosts. Without names every field
# is read. A name without tags also finds the metrics of that name with tags.
# What a coarser tier has is read from it, the rest from the next one. Returns a list for each host, in the order of
# time where tiers do not alternate: {place of the tier, window, fields and values, sealing, head}.
# A call from a script costs 3 to 7 us, ten times what the command does: so there are few, with many fields each.
READ = """
local at = 1
local function argument()
  at = at + 1
  return ARGV[at - 1]
end
local tiers = {}
for i = 1, tonumber(argument()) do
  tiers[i] = {name = argument(), window = tonumber(argument())}
  tiers[i].oldest, tiers[i].newest = tonumber(argument()), tonumber(argument())
end
local from, till = tonumber(argument()), tonumber(argument())
local wanted, bare = {}, {}
for i = 1, tonumber(argument()) do
  wanted[i] = argument()
  if not string.find(wanted[i], ';', 1, true) then bare[#bare + 1] = wanted[i] end
end
local names = #wanted
wanted[names + 1], wanted[names + 2], wanted[names + 3] = ';times', ';tagged', ';fed'
local prefix, found, raw, logs

-- The fields of a window that are wanted, and which windows of the finer tier it has.
local function fields(key)
  if names == 0 then
    local all = redis.call('HGETALL', key)
    for i = 1, #all, 2 do if all[i] == ';fed' then return all, all[i + 1] end end
    return all
  end
  local got = redis.call('HMGET', key, unpack(wanted))
  local some = {}
  for i = 1, names do
    if got[i] then
      some[#some + 1] = wanted[i]
      some[#some + 1] = got[i]
    end
  end
  local tagged, every = got[names + 2], nil
  for _, name in ipairs(tagged and bare or {}) do
    if string.find(tagged, '\\n' .. name .. '\\n', 1, true) then
      every = every or redis.call('HKEYS', key)
      local some_tagged, start = {}, name .. ';'
      for _, field in ipairs(every) do
        if string.sub(field, 1, #start) == start then some_tagged[#some_tagged + 1] = field end
      end
      for first = 1, #some_tagged, 1000 do
        local last = math.min(first + 999, #some_tagged)
        for i, value in ipairs(redis.call('HMGET', key, unpack(some_tagged, first, last))) do
          some[#some + 1] = some_tagged[first + i - 1]
          some[#some + 1] = value
        end
      end
    end
  end
  if #some > 0 and got[names + 1] then
    some[#some + 1] = ';times'
    some[#some + 1] = got[names + 1]
  end
  return some, got[names + 3]
end

local function read(level, start, stop)
  local tier = tiers[level]
  local length = tier.window
  for window = math.max(start - start % length, tier.oldest), stop - 1, length do
    local key = prefix .. tier.name .. ':' .. string.format('%d', window)
    if level == #tiers then
      raw[#raw + 1] = {level, window, (fields(key))}
      logs[#logs + 1] = key .. ':sealing'
      logs[#logs + 1] = key .. ':head'
      found[#found + 1] = raw[#raw]
    else
      local low, high = math.max(start, window), math.min(stop, window + length)
      local some, fed
      if window <= tier.newest then some, fed = fields(key) end
      if not fed then
        read(level + 1, low, high)
      else
        if #some > 0 then found[#found + 1] = {level, window, some} end
        local part = tiers[level + 1].window
        for child = low - low % part, high - 1, part do
          if string.byte(fed, (child - window) / part + 1) ~= 49 then
            read(level + 1, math.max(low, child), math.min(high, child + part))
          end
        end
      end
    end
  end
end

local answers = {}
while at <= #ARGV do
  prefix, found, raw, logs = 'pm:{' .. argument() .. '}:', {}, {}, {}
  read(1, from, till)
  for first = 1, #logs, 1000 do
    for i, log in ipairs(redis.call('MGET', unpack(logs, first, math.min(first + 999, #logs)))) do
      local place = first + i
      raw[math.floor(place / 2)][4 + place % 2] = log
    end
  end
  answers[#answers + 1] = found
end
return answers
"""

# ARGV: state, reason, time (s) of the change, TTL (s), most events, then host and its latest sign (s) in turn.
# A host changes unless it is in that state already; for any state but up it must also be present, with no sign
# after the latest one that the caller knows of. The check, the change and the event are one step, so each change
# is told of once, however many collectors watch. Returns the hosts that changed.
CHANGE = """
local state, reason, at, ttl, most = unpack(ARGV, 1, 5)
local changed = {}
for i = 6, #ARGV, 2 do
  local host, latest = ARGV[i], tonumber(ARGV[i + 1])
  local meta = 'pm:{' .. host .. '}:meta'
  local sign = redis.call('ZSCORE', 'pm:present', host)
  if redis.call('HGET', meta, 'state') ~= state and (state == 'up' or sign and tonumber(sign) <= latest) then
    redis.call('HSET', meta, 'state', state, 'since', at, 'reason', reason)
    redis.call('HSETNX', meta, 'first', at)
    redis.call('EXPIRE', meta, ttl)
    if state ~= 'up' and state ~= 'late' then redis.call('ZREM', 'pm:present', host) end
    changed[#changed + 1] = host
  end
end
if #changed > 0 then
  redis.call('XADD', 'pm:events', 'MAXLEN', '~', most, '*',
    'kind', state, 'hosts', cjson.encode(changed), 'at', at, 'reason', reason)
  redis.call('EXPIRE', 'pm:events', ttl)
end
return changed
"""

# ARGV: hosts. Returns for each: time of its last sign, whether it is present, the fields of its meta hash.
RECORDS = """
local records = {}
for i = 1, #ARGV do
  local present = redis.call('ZSCORE', 'pm:present', ARGV[i]) and 1 or 0
  local seen = redis.call('ZSCORE', 'pm:hosts', ARGV[i])
  records[i] = {seen, present, redis.call('HGETALL', 'pm:{' .. ARGV[i] .. '}:meta')}
end
return records
"""
