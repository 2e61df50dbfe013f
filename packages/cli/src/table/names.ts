/** As `execIdPattern` and `namePattern` of protocol's schema, which would bring zod along; a test compares them. */
export const execIdRule = /^[a-z0-9][a-z0-9._-]{0,63}$/;
export const machineNameRule = /^[a-z0-9][a-z0-9._-]{0,62}$/;
