// Tells one whole message and half of another, says so, and stays.
import { once } from 'node:events'
import { connect } from 'node:net'

const socket = connect(process.argv[2] ?? '')
await once(socket, 'connect')
const message = JSON.stringify({ type: 'fleet', suite: 'whole', vms: [] })
socket.write(`${message}\n${message.slice(0, 20)}`, () => console.log('told'))
