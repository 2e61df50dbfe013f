/** How many ends a shallow history may have that is sent to a machine. */
export const maxShallow = 200;
