import org.springframework.beans.factory.config.BeanPostProcessor;
import org.springframework.context.ApplicationContextInitializer;
import org.springframework.context.ConfigurableApplicationContext;

/**
 * Binds s3mock's plain HTTP connector to the loopback address.
 *
 * s3mock adds that connector beside Spring's own and gives it no address, so
 * it would listen on every interface. META-INF/spring.factories names this
 * class; reflection keeps it apart from Spring Boot's package moves.
 */
public class LoopbackOnly implements ApplicationContextInitializer<ConfigurableApplicationContext> {
    @Override
    public void initialize(ConfigurableApplicationContext context) {
        context.getBeanFactory().addBeanPostProcessor(new BeanPostProcessor() {
            @Override
            public Object postProcessAfterInitialization(Object bean, String name) {
                bindAdditionalConnectors(bean);
                return bean;
            }
        });
    }

    private static void bindAdditionalConnectors(Object bean) {
        try {
            var connectors = bean.getClass().getMethod("getAdditionalConnectors").invoke(bean);
            for (Object connector : (Iterable<?>) connectors) {
                connector.getClass().getMethod("setProperty", String.class, String.class)
                        .invoke(connector, "address", "127.0.0.1");
            }
        } catch (NoSuchMethodException notAServerFactory) {
            // Every other bean.
        } catch (ReflectiveOperationException e) {
            throw new IllegalStateException("cannot bind s3mock to the loopback address", e);
        }
    }
}
