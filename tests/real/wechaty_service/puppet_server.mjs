// A real puppet service (PuppetServer of npm's wechaty-puppet-service) over the mock puppet, controlled by JSON over HTTP on loopback.
//
// Environment: PUPPET_PORT and CONTROL_PORT (0 or unset: free ones), PUPPET_TOKEN, PUPPET_TLS=1 (the service's own certificate),
// PUPPET_MODE=scan (nobody is logged in), RECORD (a file: one line of JSON for each event that was written to a stream, and for each
// thing that a client had the account do; it survives a restart).
// Prints one line of JSON when it is ready: pid, grpc, control, token.
//
// POST /ACTION with a JSON body does something (see `actions`), GET /sent, /events and /state tell what happened.
import crypto from 'node:crypto'
import fs from 'node:fs'
import http from 'node:http'
import net from 'node:net'
import { PuppetServer } from 'wechaty-puppet-service'
import { PuppetMock, mock } from 'wechaty-puppet-mock'
import { FileBox } from 'file-box'
import * as PUPPET from 'wechaty-puppet'

const env = process.env
const token = env.PUPPET_TOKEN || 'insecure_11111111-2222-4333-8444-555555555555'
const sent = []
const events = []
const calls = {}
const files = new Map() // id of a message -> makes its FileBox
const requests = new Map() // id of an invitation or a friend request -> its payload
let failures = 0
let echo = true

const count = name => { calls[name] = (calls[name] || 0) + 1 }
const digest = data => crypto.createHash('sha256').update(data).digest('hex')
const keep = (list, kind, entry) => {
  list.push(entry)
  if (env.RECORD) fs.appendFileSync(env.RECORD, JSON.stringify({ record: kind, ...entry }) + '\n')
}
const waiters = new Set() // called with each text that is sent
const note = entry => {
  keep(sent, 'sent', { ...entry, at: Date.now() / 1000 })
  for (const waiter of waiters) waiter(entry.text ?? '')
}

// What the mock leaves out, and a real puppet does: ids of mentions and of what was sent, titles, invitations, friend requests.
class RecordingPuppet extends PuppetMock {
  async onStart () { count('start'); await super.onStart() }
  async onStop () { count('stop'); await super.onStop() }
  async logout (reason) { count('logout'); return super.logout(reason) }

  mayStillWork () {
    if (!this.isLoggedIn) throw new Error('not logged in')
    if (failures > 0) { failures--; throw new Error('told to fail') }
  }

  // As a real puppet: what the account itself sends comes back as an event.
  speak (conversationId, text, mentionIdList, fields = {}) {
    const id = 'own-' + crypto.randomUUID()
    const inRoom = mocker.cacheRoomPayload.has(conversationId)
    if (echo) {
      const place = inRoom ? { roomId: conversationId, mentionIdList } : { listenerId: conversationId }
      putMessage({ id, type: PUPPET.types.Message.Text, talkerId: this.currentUserId, text, ...place, ...fields })
    }
    return id
  }

  async messageSendText (conversationId, text, mentionIdList = []) {
    count('messageSendText')
    this.mayStillWork()
    const id = this.speak(conversationId, text, mentionIdList)
    note({ kind: 'text', conversationId, text, mentionIdList, id })
    return id
  }

  async messageSendFile (conversationId, fileBox) {
    count('messageSendFile')
    this.mayStillWork()
    const data = await fileBox.toBuffer()
    const type = fileBox.mediaType.startsWith('image/') ? PUPPET.types.Message.Image : PUPPET.types.Message.Attachment
    const id = this.speak(conversationId, '', [], { type, filename: fileBox.name })
    files.set(id, () => FileBox.fromBase64(data.toString('base64'), fileBox.name))
    note({ kind: 'file', conversationId, name: fileBox.name, size: data.length, boxType: fileBox.type, sha256: digest(data), id })
    return id
  }

  async messageFile (id) { count('messageFile'); return this.fileOf(id) ?? super.messageFile(id) }
  async messageImage (id, type) { count('messageImage'); return this.fileOf(id) ?? super.messageImage(id, type) }
  fileOf (id) { return files.get(id)?.() }

  async messageRecall (id) {
    const known = sent.some(one => one.id === id)
    note({ kind: 'recall', id })
    return known
  }

  async roomTopic (roomId, topic) {
    const payload = mocker.roomPayload(roomId)
    if (topic === undefined) return payload.topic
    changeTopic(payload, topic, this.currentUserId)
    note({ kind: 'topic', conversationId: roomId, text: topic })
  }

  async roomInvitationRawPayload (id) { return requests.get(id) }
  async roomInvitationAccept (id) { note({ kind: 'accept', id }) }
  async friendshipRawPayload (id) { return requests.get(id) }
  async friendshipAccept (id) { note({ kind: 'accept', id }) }
}

const mocker = new mock.Mocker()
const puppet = new RecordingPuppet({ mocker })
puppet.on('error', error => console.error('puppet error', JSON.stringify(error)))

const bot = mocker.createContact({ id: 'wxid_bot', name: 'LabBot', friend: true })
const alice = mocker.createContact({ id: 'wxid_alice', name: 'Alice', alias: 'Ali', friend: true })
const bob = mocker.createContact({ id: 'wxid_bob', name: 'Bob', alias: '', friend: true })
const people = [bot.id, alice.id, bob.id]
const room = mocker.createRoom({ id: '19876543210@chatroom', topic: 'Lab room', ownerId: alice.id, adminIdList: [], memberIdList: people })
mocker.createRoom({ id: '29876543210@chatroom', topic: 'Second room', ownerId: bob.id, adminIdList: [], memberIdList: [bot.id, bob.id] })

function putMessage (payload) {
  const id = payload.id || 'msg-' + crypto.randomUUID()
  mocker.MessageMock.create({ timestamp: Date.now(), ...payload, id })
  puppet.emit('message', { messageId: id })
  return id
}

function changeTopic (payload, newTopic, changerId) {
  const oldTopic = payload.topic
  payload.topic = newTopic
  puppet.dirtyPayload(PUPPET.types.Dirty.Room, payload.id)
  puppet.emit('room-topic', { changerId, newTopic, oldTopic, roomId: payload.id, timestamp: Date.now() })
}

function changeMembers (name, b, listed, by) {
  const payload = mocker.roomPayload(b.room || room.id)
  const without = payload.memberIdList.filter(id => id !== b.id)
  payload.memberIdList = name === 'room-join' ? [...without, b.id] : without
  puppet.dirtyPayload(PUPPET.types.Dirty.Room, payload.id)
  puppet.emit(name, { [listed]: [b.id], [by]: b.by || alice.id, roomId: payload.id, timestamp: Date.now() })
}

function ask (name, id, payload) {
  requests.set(id, { id, ...payload })
  puppet.emit(name, name === 'friendship' ? { friendshipId: id } : { roomInvitationId: id })
  return { id }
}

const where = b => b.to ? { listenerId: b.to } : { roomId: b.room || room.id, mentionIdList: b.mentions || [] }
const types = PUPPET.types

// Fields of their bodies: from, room or to (a contact), text, type, mentions, timestamp, id; of the others as they are read here.
const actions = {
  say: b => ({
    id: putMessage({
      type: b.type ?? types.Message.Text, talkerId: b.from || alice.id, text: b.text ?? 'hello', ...where(b),
      ...(b.timestamp ? { timestamp: b.timestamp } : {}), ...(b.id ? { id: b.id } : {}),
    }),
  }),
  many: b => ({ ids: b.messages.map(one => actions.say(one).id) }),
  // Like say; answers when a text was sent that holds `until`, or after so many `seconds`.
  converse: b => new Promise(resolve => {
    const finish = answered => { waiters.delete(hear); clearTimeout(timer); resolve({ id, answered }) }
    const hear = text => { if (text.includes(b.until)) finish(true) }
    const timer = setTimeout(() => finish(false), b.seconds * 1000)
    waiters.add(hear)
    const { id } = actions.say(b)
  }),
  // base64, or size: so many random bytes; buffer: as a Buffer, which MessageFile cannot hand over when it is small; url: by address.
  file: b => {
    const data = b.base64 ? Buffer.from(b.base64, 'base64') : crypto.randomBytes(b.size || 1000)
    const name = b.name || 'data.bin'
    const id = 'msg-' + crypto.randomUUID()
    files.set(id, () => {
      if (b.url) return FileBox.fromUrl(b.url, { name })
      return b.buffer ? FileBox.fromBuffer(data, name) : FileBox.fromBase64(data.toString('base64'), name)
    })
    putMessage({ id, filename: name, type: b.type ?? types.Message.Attachment, talkerId: b.from || alice.id, text: '', ...where(b) })
    return { id, size: data.length, sha256: digest(data) }
  },
  // As WeChat tells it: a message of its own type whose text is the id of the one that is gone.
  recall: b => ({ id: putMessage({ type: types.Message.Recalled, talkerId: b.from || alice.id, text: b.message, ...where(b) }) }),
  scan: b => { puppet.emit('scan', { qrcode: b.qrcode ?? 'https://login.weixin.qq.com/l/LAB', status: b.status ?? types.ScanStatus.Waiting }) },
  login: b => { puppet.login(b.id || bot.id) },
  logout: async b => { await puppet.logout(b.reason || 'lab') },
  ready: () => { puppet.emit('ready', { data: 'ready' }) },
  error: b => { puppet.emit('error', { gerror: JSON.stringify({ message: b.message }), data: b.message }) },
  heartbeat: () => { puppet.emit('heartbeat', { data: 'lab' }) },
  room: b => { mocker.createRoom({ ownerId: alice.id, adminIdList: [], memberIdList: people, ...b }) },
  contact: b => { mocker.createContact({ alias: '', friend: true, ...b }) },
  join: b => changeMembers('room-join', b, 'inviteeIdList', 'inviterId'),
  leave: b => changeMembers('room-leave', b, 'removeeIdList', 'removerId'),
  topic: b => changeTopic(mocker.roomPayload(b.room || room.id), b.topic, b.by || alice.id),
  invite: b => ask('room-invite', 'inv-' + crypto.randomUUID(), {
    inviterId: b.by || alice.id, topic: b.topic || 'An invited room', avatar: '', invitation: '', receiverId: bot.id, memberCount: 3,
    memberIdList: [alice.id], timestamp: Date.now(),
  }),
  friend: b => ask('friendship', 'fri-' + crypto.randomUUID(), {
    contactId: b.from || bob.id, hello: b.hello || '', type: types.Friendship.Receive, stranger: '', ticket: 'ticket', scene: 30, timestamp: Date.now(),
  }),
  fail: b => { failures = b.count ?? 1 },
  echo: b => { echo = !!b.on },
  // The gRPC server goes away for a while; the account, and what was said to it, stay.
  restart: async b => {
    await stopServer()
    await new Promise(resolve => setTimeout(resolve, b.downMs || 500))
    await startServer()
  },
}

const freePort = () => new Promise((resolve, reject) => {
  const probe = net.createServer()
  probe.once('error', reject)
  probe.listen(0, '127.0.0.1', () => { const { port } = probe.address(); probe.close(() => resolve(port)) })
})

let server
let streams = 0
const port = Number(env.PUPPET_PORT) || await freePort()

async function startServer () {
  server = new PuppetServer({ endpoint: `127.0.0.1:${port}`, puppet, token, tls: { disable: env.PUPPET_TLS !== '1' } })
  await server.start()
  recordEvents(server.grpcServer)
}

async function stopServer () { const old = server; server = undefined; await old?.stop() }

// Every event that the service writes to a stream; what it has no stream for is lost, and is not here.
function recordEvents (grpcServer) {
  const handler = grpcServer.handlers.get('/wechaty.Puppet/Event')
  const serve = handler.func
  handler.func = stream => {
    const number = ++streams
    const write = stream.write.bind(stream)
    stream.write = event => {
      if (!stream.cancelled && !stream.destroyed) keep(events, 'event', { stream: number, type: event.getType(), payload: JSON.parse(event.getPayload()), at: Date.now() / 1000 })
      return write(event)
    }
    return serve(stream)
  }
}

const looks = {
  sent: () => sent,
  events: () => events,
  state: () => ({ loggedIn: puppet.isLoggedIn, active: puppet.state.active(), calls, streams, sent: sent.length }),
}

async function serveControl (request, response) {
  let body = ''
  for await (const part of request) body += part
  const answer = (code, told) => { response.writeHead(code, { 'content-type': 'application/json' }); response.end(JSON.stringify(told)) }
  const name = request.url.slice(1)
  try {
    if (request.method === 'GET' && looks[name]) return answer(200, looks[name]())
    if (request.method !== 'POST' || !actions[name]) return answer(404, { error: 'no such action' })
    return answer(200, await actions[name](body ? JSON.parse(body) : {}) ?? {})
  } catch (error) {
    return answer(500, { error: String(error.stack || error) })
  }
}

// PuppetServer's Download handles no error: an unknown uuid would end this process, as it does in the field.
process.on('unhandledRejection', error => { count('unhandledRejection'); console.error('unhandled', String(error).slice(0, 200)) })

await puppet.start()
if (env.PUPPET_MODE === 'scan') actions.scan({})
else puppet.login(bot.id)
await startServer()
const control = http.createServer(serveControl)
const controlPort = Number(env.CONTROL_PORT) || await freePort()
await new Promise(resolve => control.listen(controlPort, '127.0.0.1', resolve))
console.log(JSON.stringify({ pid: process.pid, grpc: `127.0.0.1:${port}`, control: `http://127.0.0.1:${controlPort}`, token }))

async function end () {
  try { await stopServer() } finally { process.exit(0) }
}
process.on('SIGTERM', end)
process.on('SIGINT', end)
