#include <ddpm/ddpm.hpp>

#include <stb_image.h>

std::vector<std::uint8_t> decode_after(const ddpm::io::Bytes& bytes);

std::vector<std::uint8_t> decode_after(const ddpm::io::Bytes& bytes) {
  int width = 0, height = 0, channels = 0;
  stbi_uc* own = stbi_load_from_memory(bytes.data(), static_cast<int>(bytes.size()), &width,
                                       &height, &channels, 3);
  std::vector<std::uint8_t> pixels(own, own + width * height * 3);
  stbi_image_free(own);
  return pixels;
}
