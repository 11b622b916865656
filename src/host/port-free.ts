import { createSocket } from 'node:dgram'
import { createServer } from 'node:net'
import type { PortQuestion } from './host.ts'

/**
 * Whether a program of this machine could listen there now. Asked by binding, because a port that
 * is bound but not listened on is in no table of /proc/net, and QEMU is refused it all the same.
 */
export function portFree({ port, address, protocol }: PortQuestion): Promise<boolean> {
  return protocol === 'udp' ? udpFree(port, address) : tcpFree(port, address)
}

function tcpFree(port: number, host: string): Promise<boolean> {
  const server = createServer()
  return new Promise((resolve, reject) => {
    server.once('error', (error) => settleRefused(error, resolve, reject))
    server.listen({ port, host, exclusive: true }, () => server.close(() => resolve(true)))
  })
}

function udpFree(port: number, address: string): Promise<boolean> {
  const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4')
  return new Promise((resolve, reject) => {
    socket.once('error', (error) => {
      socket.close()
      settleRefused(error, resolve, reject)
    })
    socket.bind({ port, address, exclusive: true }, () => socket.close(() => resolve(true)))
  })
}

// EACCES: a port below net.ipv4.ip_unprivileged_port_start. Anything else is no answer, e.g. an
// address that this machine does not have.
function settleRefused(
  error: NodeJS.ErrnoException,
  resolve: (free: boolean) => void,
  reject: (error: Error) => void,
): void {
  if (error.code === 'EADDRINUSE' || error.code === 'EACCES') resolve(false)
  else reject(error)
}
