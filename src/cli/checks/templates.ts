import { openTemplateStore } from '../../fleet/template-store.ts'
import { parseSize } from '../../units.ts'
import { listTemplates } from '../../vm/template/store.ts'
import { roughSize } from '../output.ts'
import { templatesLine } from '../template.ts'
import { type Check, degraded, failure, ok } from './check.ts'

/** Two or three of the default shape. */
const LITTLE = '512M'

export const templates: Check = {
  name: 'templates',
  look: async (machine) => {
    const { host } = machine
    try {
      const { path, limit } = await openTemplateStore(host)
      const all = await listTemplates(host, path)
      const detail = `${path}: ${templatesLine(all)} of ${roughSize(limit)}`
      if (limit >= parseSize(LITTLE)) return ok(detail)
      return degraded(`${detail}: little room; VITEST_DUT_TEMPLATES names another folder`)
    } catch (error) {
      // Every VM boots from its kernel on, then.
      return { ...failure(machine, error), status: 'degraded' }
    }
  },
}
